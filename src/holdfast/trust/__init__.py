"""Tests, certificates and explanations."""
