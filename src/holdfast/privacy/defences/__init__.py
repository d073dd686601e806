"""Privacy defences, one per file."""
