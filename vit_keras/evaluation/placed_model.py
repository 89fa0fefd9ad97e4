"""A model on the devices that share its batches, and its outputs for all images on every process."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from weakref import WeakSet

import keras
import numpy as np

from vit_keras.data import EncodedSplit, Split
from vit_keras.data.dataset.pipeline import make_batches, make_full_batches
from vit_keras.distributed.arguments import check_devices
from vit_keras.distributed.arrays import copy_weights
from vit_keras.distributed.devices import Devices, distribution_scope, run_on, use_devices
from vit_keras.models.vit import check_not_quantized
from vit_keras.runtime.random_state import random_state
from vit_keras.runtime.tensorflow_host import as_operations
from vit_keras.zoo.load_model import OpenModel, open_model

_FEW = 8  # images, for which a trace takes longer than it saves
_called: WeakSet[keras.Model] = WeakSet()


@dataclass(frozen=True, eq=False, kw_only=True)
class PlacedModel:
    """A model and the devices it is on.

    Args:
        model: The model.
        devices: The devices that share each batch; one for a model that stays where it is.
        distribution: Keras' distribution that the model was built under; None for the caller's.
    """

    model: keras.Model
    devices: Devices = field(default_factory=Devices)
    distribution: Any = None

    def fit_size(self, batch_size: int) -> int:
        """Returns the smallest batch size from this one on that the devices share equally."""
        return -(-batch_size // self.devices.count) * self.devices.count

    def rows(self, batch_size: int) -> range:
        """Returns which rows of a batch of this size this process computes."""
        process, processes = self.devices.process
        part = batch_size // processes
        return range(process * part, (process + 1) * part)

    def predict_rows(self, images: np.ndarray) -> np.ndarray:
        """Returns the outputs of a batch, `(batch, ...)`, given the images of this process' `rows`; all processes call it together."""
        if self.devices.count == 1:
            return run_batch(self.model, images)
        with self._scope():
            return np.asarray(self.model.predict(images, batch_size=len(images), verbose=0))

    def predict_split(self, split: Split | EncodedSplit, batch_size: int) -> np.ndarray:
        """Returns the outputs of all images, `(count, ...)`, in order; all processes call it together, and each reads its rows only."""
        if self.devices.count == 1:
            batches = make_batches(split, batch_size)
        else:
            size = self.fit_size(min(batch_size, len(split)))
            batches = make_full_batches(split, size, shard=self.devices.process)
        with self._scope():
            outputs = self.model.predict(batches.map(as_operations(lambda pixels, *_: pixels)), verbose=0)
        return np.asarray(outputs)[: len(split)]

    @contextmanager
    def _scope(self) -> Iterator[None]:
        if self.distribution is None:
            yield
            return
        with distribution_scope(self.distribution):
            yield


def open_on_devices(
    source: keras.Model | str | Path, *, devices: Any, distribution: str
) -> tuple[OpenModel, PlacedModel]:
    """Opens a model on the devices that `run_on` chooses; of several processes, all do it together.

    A model that was built already stays where it is, unless a number of devices is asked for: then a copy of it is used.
    """
    check_devices(devices, distribution)
    is_built = isinstance(source, keras.Model)
    if is_built and devices == "auto":
        return open_model(source), PlacedModel(model=source)
    with run_on(devices, distribution) as chosen:
        if is_built and chosen.count == 1:
            return open_model(source), PlacedModel(model=source)
        if is_built:
            check_not_quantized(source, "a number of devices")
        with random_state(0), use_devices(chosen):  # the weights before loading are the same in all processes
            opened = open_model(source)
            if is_built:
                opened = replace(opened, model=keras.models.clone_model(opened.model))
            placed = PlacedModel(
                model=opened.model,
                devices=chosen,
                distribution=keras.distribution.distribution() if chosen.count > 1 else None,
            )
        if is_built:
            copy_weights(source, opened.model)
        return opened, placed


def run_batch(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """Returns a model's outputs for images that have its size.

    The first few images of a model are not traced on TensorFlow, where a trace takes longer than they do.
    """
    is_first = model not in _called and model.predict_function is None
    _called.add(model)
    is_local = keras.distribution.distribution() is None
    if is_first and is_local and len(images) <= _FEW and keras.backend.backend() == "tensorflow":
        outputs = keras.ops.convert_to_numpy(model(images, training=False))
    else:
        outputs = model.predict_on_batch(images)
    return np.asarray(outputs)
