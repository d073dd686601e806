"""Evasion attacks, one per file."""
