"""The search space, and how its values become a model and a recipe."""
