"""Runs a SavedModel in a process with TensorFlow alone: neither Keras nor vit_keras can be imported there.

This file is run by its path, with nothing of the package imported: it reads arrays of images from stdin, and writes the outputs to stdout.
"""

import io
import os
import struct
import sys
from typing import IO

import numpy as np

_LENGTH = struct.Struct("<Q")  # bytes of the array that follows


def send_array(pipe: IO[bytes], array: np.ndarray) -> None:
    """Writes an array to a pipe."""
    content = io.BytesIO()
    np.save(content, array, allow_pickle=False)
    pipe.write(_LENGTH.pack(content.getbuffer().nbytes))
    pipe.write(content.getbuffer())
    pipe.flush()


def receive_array(pipe: IO[bytes]) -> np.ndarray | None:
    """Reads an array from a buffered pipe; None at its end."""
    header = pipe.read(_LENGTH.size)
    if len(header) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(header)
    content = pipe.read(length)
    if len(content) < length:
        return None
    array: np.ndarray = np.load(io.BytesIO(content), allow_pickle=False)
    return array


def main() -> None:
    """Answers until stdin ends; the first answer says that the model is loaded."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 1)  # stdout is for arrays; stderr goes where the parent wants
    sys.modules["vit_keras"] = sys.modules["keras"] = None  # type: ignore[assignment]  # Python's way to forbid an import

    import tensorflow as tf

    model = tf.saved_model.load(sys.argv[1])  # which owns the variables of its signatures
    serve = model.signatures["serving_default"]
    send_array(answers, np.array(sorted(model.signatures)))
    while (images := receive_array(requests)) is not None:
        (outputs,) = serve(images=tf.constant(images)).values()
        send_array(answers, outputs.numpy())


if __name__ == "__main__":
    main()
