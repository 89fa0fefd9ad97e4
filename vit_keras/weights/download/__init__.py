"""Files from the network."""
