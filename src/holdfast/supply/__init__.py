"""The files and packages around a model."""
