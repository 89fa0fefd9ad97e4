"""Runs a SavedModel in a process with TensorFlow alone: neither Keras nor vit_keras can be imported there.

This file is run by its path, with nothing of the package imported: it reads arrays of images from stdin, and writes the outputs to stdout.
"""

import os
import sys


def main() -> None:
    """Answers until stdin ends; the first answer says that the model is loaded."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb", 0)
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 1)  # stdout is for arrays; stderr goes where the parent wants
    sys.modules["vit_keras"] = sys.modules["keras"] = None  # type: ignore[assignment]  # Python's way to forbid an import

    import numpy as np
    import tensorflow as tf

    model = tf.saved_model.load(sys.argv[1])  # which owns the variables of its signatures
    serve = model.signatures["serving_default"]
    np.lib.format.write_array(answers, np.array(sorted(model.signatures)), allow_pickle=False)
    while requests.peek(1):
        images = np.lib.format.read_array(requests, allow_pickle=False)
        (outputs,) = serve(images=tf.constant(images)).values()
        np.lib.format.write_array(answers, outputs.numpy(), allow_pickle=False)


if __name__ == "__main__":
    main()
