"""Triggers hidden in models."""
