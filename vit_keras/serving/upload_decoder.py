"""Decodes the images of requests in worker processes."""

import json
import os

import numpy as np

from vit_keras.data.dataset.pool import DecoderPool
from vit_keras.data.images.preprocess import Preprocessing
from vit_keras.errors import DataError
from vit_keras.serving.limits import DECODE_SECONDS, MAX_DECODERS


class UploadDecoder:
    """Worker processes that decode and preprocess untrusted images.

    Args:
        preprocessing: How images are resized to the model's size.
    """

    def __init__(self, preprocessing: Preprocessing) -> None:
        self._preprocessing = json.dumps(preprocessing.to_dict())
        self._shape = (1, *preprocessing.image_shape)
        count = min(os.cpu_count() or 1, MAX_DECODERS)
        self._pool = DecoderPool(count, module="vit_keras.serving.decode_worker", timeout=DECODE_SECONDS)

    def decode(self, content: bytes, name: str) -> np.ndarray:
        """Returns an image's pixels, `(height, width, channels)`, uint8; waits for a free process.

        Raises `DataError` with the reason for an image that can't be read.
        """
        request = {"preprocessing": self._preprocessing, "name": name}
        pixels, failed = self._pool.ask(request, self._shape, payload=content)
        if failed:
            reason = failed["0"]
            raise DataError(reason if reason.startswith(f"{name}:") else f"{name}: {reason}.")
        image: np.ndarray = pixels[0]
        return image

    def end(self) -> None:
        """Ends the processes."""
        self._pool.end()
