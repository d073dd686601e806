"""A policy decides from stored outcomes whether a model may go live."""
