"""Extraction attacks, one per file."""
