"""What a model tells about its training data."""
