"""Training data changed so that the model errs."""
