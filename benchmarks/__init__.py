"""Slow proofs and measurements; run as scripts from the root of the repository."""
