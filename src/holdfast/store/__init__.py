"""Records and tensors on disk; the only place that knows SQL."""
