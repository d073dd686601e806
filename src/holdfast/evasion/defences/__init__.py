"""Defences against evasion, one per file."""
