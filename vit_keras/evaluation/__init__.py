"""How good a model is, and how surely."""
