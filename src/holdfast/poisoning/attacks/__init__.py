"""Poisoning attacks, one per file."""
