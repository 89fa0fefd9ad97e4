"""One resumable training run: train, save, evaluate, report."""
