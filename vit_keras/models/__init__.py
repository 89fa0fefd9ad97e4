"""The Vision Transformer as a Keras model: its layers, its graph, and what `fit` does with it."""
