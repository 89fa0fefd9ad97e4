"""Worker process of `DecoderPool`: decodes and augments the images of each request."""

import functools
import json
from typing import Any

import numpy as np

from vit_keras.data.augment.augmentation import Augmentation
from vit_keras.data.augment.training_image import from_file
from vit_keras.data.images.decode import FilePart
from vit_keras.data.images.preprocess import Preprocessing
from vit_keras.errors import VitKerasError
from vit_keras.runtime.worker_process import ParentConnection


def main() -> None:
    """Answers requests until the parent ends."""
    parent = ParentConnection()
    while True:
        images, failed = answer(parent.receive())
        parent.send(failed, images.data)


def answer(request: dict[str, Any]) -> tuple[np.ndarray, dict[str, str]]:
    """Returns the images of a request, uint8, and the reason for each that failed (a black image), by its index.

    The request has `preprocessing` and `augmentation` as JSON texts, and `files`: the values of a `FilePart` and the two numbers of the key.
    """
    preprocessing, augmentation = _parse_rules(request["preprocessing"], request["augmentation"])
    files = request["files"]
    images, failed = np.zeros((len(files), *preprocessing.image_shape), "uint8"), {}
    for place, (*part, seed, position) in enumerate(files):
        try:
            images[place] = from_file(FilePart(*part).open(), preprocessing, augmentation, (seed, position))
        except VitKerasError as error:
            failed[str(place)] = str(error)
    return images, failed


@functools.cache
def _parse_rules(preprocessing: str, augmentation: str) -> tuple[Preprocessing, Augmentation]:
    return Preprocessing.from_dict(json.loads(preprocessing)), Augmentation.from_dict(json.loads(augmentation))


if __name__ == "__main__":
    main()
