"""Named data sets and readers of common formats."""
