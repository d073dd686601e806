"""Shared types: spaces, targets, goals, methods and their kinds, records, policies, errors."""
