"""Backdoor attacks, one per file."""
