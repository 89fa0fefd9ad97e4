"""What layers share."""
