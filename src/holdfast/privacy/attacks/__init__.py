"""Privacy attacks, one per file."""
