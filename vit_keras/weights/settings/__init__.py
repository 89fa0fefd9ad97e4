"""What stands beside the weights."""
