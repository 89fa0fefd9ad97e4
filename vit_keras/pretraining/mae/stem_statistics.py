"""Fits the batch norms of a convolutional stem to whole images, after training on masked ones."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from keras import ops

from vit_keras.errors import InvalidArgumentError
from vit_keras.layers import ConvStem
from vit_keras.layers.base.checks import Tensor


def fit_stem_statistics(stem: ConvStem, batches: Iterable[Any], normalize: Callable[[Any], Tensor]) -> None:
    """Sets mean and variance of each batch norm to those of its input over all images; frozen ones stay as they are.

    Each norm is fitted given those before it, so the batches are read once per norm.

    Args:
        stem: Of the encoder.
        batches: Images, which can be iterated several times.
        normalize: Turns a batch of pixels 0..255 into what the stem takes.

    Raises:
        InvalidArgumentError: There is no image, or the batches can be iterated only once.
    """
    for index, norm in enumerate(stem.norms):
        if not norm.trainable:
            continue
        total = _Moments(stem.convolutions[index].filters)
        for batch in batches:
            total.add(_norm_inputs(stem, normalize(batch), index))
        if not total.count:
            raise InvalidArgumentError(
                "There are no images to fit the stem's batch norms to. Give at least one batch, in a list or a tf.data.Dataset, since it "
                "is read several times."
            )
        norm.moving_mean.assign(total.mean)
        norm.moving_variance.assign(total.squares / total.count)


def _norm_inputs(stem: ConvStem, pixels: Tensor, index: int) -> np.ndarray:
    cells = pixels
    for convolution, norm in zip(stem.convolutions[:index], stem.norms[:index], strict=True):
        cells = ops.relu(norm(convolution(cells), training=False))
    inputs = ops.cast(stem.convolutions[index](cells), "float32")
    return np.asarray(ops.convert_to_numpy(inputs)).reshape(-1, inputs.shape[-1])


class _Moments:
    """Mean and sum of squared differences from it, per channel, over rows that arrive in parts."""

    def __init__(self, channels: int) -> None:
        self.count, self.mean, self.squares = 0, np.zeros(channels), np.zeros(channels)

    def add(self, rows: np.ndarray) -> None:
        mean, count = rows.mean(axis=0, dtype="float64"), len(rows)
        difference, total = mean - self.mean, self.count + count
        self.squares += ((rows - mean) ** 2).sum(axis=0) + difference**2 * (self.count * count / total)
        self.mean += difference * (count / total)
        self.count = total
