"""What is the matter with a data set."""
