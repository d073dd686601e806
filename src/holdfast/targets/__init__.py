"""Adapters that turn models of every format into targets."""
