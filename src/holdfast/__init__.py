"""One security platform for machine-learning models: assess, harden, review, guard, govern."""
