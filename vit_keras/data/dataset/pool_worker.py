"""A process that makes training images for `crew`: requests come in on stdin, a line of JSON each; pixels go out on stdout.

An answer is the length of a JSON object in eight bytes, the object (failed places and reasons), then the pixels of all images
of the request, those that failed black.
"""

import functools
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from vit_keras.data.augment.augmentation import Augmentation
from vit_keras.data.augment.training_image import from_file
from vit_keras.data.images.decode import Picture, read_unchanged
from vit_keras.data.images.preprocess import Preprocessing
from vit_keras.errors import VitKerasError


def main() -> None:
    """Answers requests until stdin ends."""
    for line in sys.stdin.buffer:
        images, failed = answer(json.loads(line))
        head = json.dumps(failed).encode()
        sys.stdout.buffer.write(len(head).to_bytes(8, "little") + head)
        sys.stdout.buffer.write(images.data)
        sys.stdout.buffer.flush()


def answer(request: dict[str, Any]) -> tuple[np.ndarray, dict[str, str]]:
    """Returns the images of a request, `(count, height, width, channels)`, uint8, and why some could not be made, by place.

    Args:
        request: `preprocessing` and `augmentation` as JSON texts, and `files`: path, size, mtime_ns and the two numbers of the key.
    """
    preprocessing, augmentation = _rule(request["preprocessing"]), _augmentation(request["augmentation"])
    files = request["files"]
    images, failed = np.zeros((len(files), *preprocessing.image_size, preprocessing.channels), "uint8"), {}
    for place, (name, size, mtime_ns, seed, position) in enumerate(files):
        path = Path(name)
        try:
            picture = Picture(read_unchanged(path, size, mtime_ns), path)
            images[place] = from_file(picture, preprocessing, augmentation, (seed, position))
        except VitKerasError as error:
            failed[str(place)] = str(error)
    return images, failed


@functools.cache
def _rule(text: str) -> Preprocessing:
    return Preprocessing.from_dict(json.loads(text))


@functools.cache
def _augmentation(text: str) -> Augmentation:
    return Augmentation.from_dict(json.loads(text))


if __name__ == "__main__":
    main()
