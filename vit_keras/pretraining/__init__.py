"""Pre-training on unlabeled images, and measures of the features it gives."""
