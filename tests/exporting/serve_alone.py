"""Asks a SavedModel for images and files in a process that can import neither Keras nor vit_keras; `test_saved_model.py` runs it.

python tests/exporting/serve_alone.py SAVED_MODEL IMAGES.npz ANSWERS.npz FILE ...
"""

import sys
from pathlib import Path

import numpy as np


def serve(path, images, files):
    """Returns what a SavedModel answers to pixels, to files, to a damaged one between others, and to none."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))
    contents = [Path(file).read_bytes() for file in files]
    asked = {
        "files": tf.constant(contents),
        "mixed": tf.constant([b"GIF", contents[0], contents[0][:99]]),
        "none": tf.constant([], tf.string),
    }
    found = {key: loaded.signatures["serve_bytes"](image_bytes=value) for key, value in asked.items()}
    found["pixels"] = loaded.signatures["serving_default"](images=tf.constant(images))
    return {f"{key}/{name}": value.numpy() for key, values in found.items() for name, value in values.items()}


if __name__ == "__main__":
    sys.modules["keras"] = sys.modules["vit_keras"] = None
    with np.load(sys.argv[2]) as arrays:
        answers = serve(sys.argv[1], arrays["images"], sys.argv[4:])
    np.savez(sys.argv[3], **answers)
    assert not any(name.split(".")[0] in ("keras", "vit_keras") for name, module in sys.modules.items() if module)
