"""Tests of behaviour, one per file."""
