"""Models as programs of TensorFlow, made in a TensorFlow process whatever the backend: SavedModel and LiteRT."""
