"""Defences against backdoors, one per file."""
