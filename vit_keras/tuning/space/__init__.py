"""What is searched, and how values become a model."""
