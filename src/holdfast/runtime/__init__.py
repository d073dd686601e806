"""Executors that run work items."""
