"""One file per command; each imports Keras only when it runs."""
