"""Train, repair or wrap a model until the goal is met."""
