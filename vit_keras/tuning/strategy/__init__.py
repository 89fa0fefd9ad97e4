"""Which trial is trained next, and how far."""
