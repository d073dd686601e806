"""Inputs changed so that the model errs."""
