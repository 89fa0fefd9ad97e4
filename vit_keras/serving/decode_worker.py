"""Worker process that decodes the images of requests, so that a hostile file can end no more than this process."""

import contextlib
import functools
import json
import sys
from typing import Any

import numpy as np

from vit_keras.data.images.decode import Picture
from vit_keras.data.images.preprocess import Preprocessing
from vit_keras.errors import VitKerasError
from vit_keras.runtime.worker_process import ParentConnection
from vit_keras.serving.limits import DECODER_BYTES, MAX_PIXELS


def main() -> None:
    """Answers requests until the parent ends."""
    parent = ParentConnection()
    limit_memory()
    while True:
        request, content = parent.receive_with_payload()
        pixels, failed = decode(request, bytes(content))
        parent.send(failed, pixels.data)


def limit_memory() -> None:
    """Limits the memory of this process, where the system can: a decoder that wants more gets an error."""
    if sys.platform != "win32":
        import resource

        with contextlib.suppress(ValueError, OSError):  # a lower limit exists, or macOS, which has none
            resource.setrlimit(resource.RLIMIT_AS, (DECODER_BYTES, DECODER_BYTES))


def decode(request: dict[str, Any], content: bytes) -> tuple[np.ndarray, dict[str, str]]:
    """Returns the preprocessed image of a request, `(1, height, width, channels)`, and the reason under "0" if it failed.

    The request has `preprocessing` as a JSON text, and `name`, what messages call the image.
    """
    preprocessing = _parse(request["preprocessing"])
    try:
        picture = Picture(content, request["name"], max_pixels=MAX_PIXELS)
        return picture.preprocess(preprocessing)[None], {}
    except VitKerasError as error:
        return np.zeros((1, *preprocessing.image_shape), "uint8"), {"0": str(error)}


@functools.cache
def _parse(preprocessing: str) -> Preprocessing:
    return Preprocessing.from_dict(json.loads(preprocessing))


if __name__ == "__main__":
    main()
