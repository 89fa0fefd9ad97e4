"""Measures the speed of a model on this machine, compared with a large matrix product."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import keras
import numpy as np

from vit_keras.config import ViTConfig
from vit_keras.errors import InvalidArgumentError
from vit_keras.layers.kernels.attention_kernel import attention_kernel
from vit_keras.models.vit import vit
from vit_keras.runtime.devices import devices
from vit_keras.runtime.precision import dtype_policy, resolve
from vit_keras.training.memory import free_bytes, largest_batch
from vit_keras.training.optim.optimizers import AdamW

BATCH_SIZES = (1, 16, 64)
_CLASSES = 1000
_MATRIX = {"cpu": 2048, "gpu": 8192}  # rows and columns
_UNSTEADY = 0.2  # interquartile range relative to the median from which to repeat on a quieter machine


@dataclass(frozen=True, kw_only=True)
class Rate:
    """The speed at one batch size."""

    batch_size: int
    images_per_second: float  # median of the rounds
    low: float  # first quartile
    high: float  # third quartile
    share_of_matmul_rate: float  # FLOPs relative to `matmul_flops`; training counts as three forward passes

    @property
    def is_steady(self) -> bool:
        """Whether the rounds vary little enough."""
        return self.high - self.low <= _UNSTEADY * self.images_per_second


@dataclass(frozen=True, kw_only=True)
class Speed:
    """The result of `measure_speed`."""

    device: str
    precision: str  # the dtype policy
    attention: str  # the kernel, and why it is not a faster one
    matmul_flops: float  # FLOPs per second of a large matrix product
    free: int  # memory in bytes before the model was built
    largest_batch: int  # estimate for a training step
    load: float  # average per core over the minute before
    inference: tuple[Rate, ...]
    training: tuple[Rate, ...]

    def to_dict(self) -> dict[str, Any]:
        """Returns the result as JSON can hold it."""
        return asdict(self)


def measure_speed(
    config: ViTConfig,
    *,
    batch_sizes: Sequence[int] | None = None,
    precision: str = "auto",
    device: str | None = None,
    seconds: float = 5.0,
) -> Speed:
    """Measures images per second of inference and training with Keras' compiled steps, on random images in memory.

    By default, training is measured at the sizes of `BATCH_SIZES` that should fit in memory. `device` is such as "gpu:1"; each
    measurement takes about `seconds`, without compilation. Illegal arguments and sizes that should not fit raise `InvalidArgumentError`.
    """
    policy = resolve(precision)
    sizes = BATCH_SIZES if batch_sizes is None else tuple(batch_sizes)
    for size in sizes:
        if type(size) is not int or size < 1:
            raise InvalidArgumentError(f"A batch size must be a positive integer, got {size!r}.")
    if not seconds > 0:
        raise InvalidArgumentError(f"seconds must be positive, got {seconds!r}.")
    found = devices()
    if device is not None and device not in found:
        raise InvalidArgumentError(f"Unknown device={device!r}; {keras.backend.backend()} has {', '.join(found)}.")
    device = device or found[0]
    free, load = free_bytes(device), os.getloadavg()[0] / (os.cpu_count() or 1)
    number = 4 if policy == "float32" else 2
    most = largest_batch(config, num_classes=_CLASSES, free=free, bytes_per_number=number)
    if batch_sizes is not None and max(sizes) > most:
        raise InvalidArgumentError(
            f"A training step with {max(sizes)} images should not fit in the {free / 2**30:.1f} GiB of free memory; about {most} would. "
            'Use a smaller batch size, remat="block", or gradient_accumulation_steps.'
        )
    rates: dict[str, list[Rate]] = {"inference": [], "training": []}
    # On torch, variables that are made on "cpu:0" are copies, which get no gradients.
    with keras.device("cpu" if device == "cpu:0" and keras.backend.backend() == "torch" else device):
        with dtype_policy(policy):
            model = vit(config, num_classes=_CLASSES)
        kernel = attention_kernel(
            num_tokens=config.num_tokens,
            num_heads=config.num_heads,
            head_dim=config.hidden_dim // config.num_heads,
            dtype=policy.removeprefix("mixed_"),
            training=True,
            has_padding=config.max_num_patches is not None,
        )
        peak = _matmul_flops(policy.removeprefix("mixed_"), _MATRIX["cpu" if device.startswith("cpu") else "gpu"])
        for kind, measured in rates.items():
            for size in sizes:
                if kind == "inference" or size <= most:
                    measured.append(_measure(model, config, kind, size, seconds=seconds, peak=peak))
    return Speed(
        device=device,
        precision=policy,
        attention=str(kernel),
        matmul_flops=peak,
        free=free,
        largest_batch=most,
        load=load,
        inference=tuple(rates["inference"]),
        training=tuple(rates["training"]),
    )


def _measure(model: keras.Model, config: ViTConfig, kind: str, batch_size: int, *, seconds: float, peak: float) -> Rate:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (batch_size, *config.image_shape)).astype("uint8")
    if kind == "inference":
        times = _timed(lambda: model.predict_on_batch(images), seconds=seconds)
    else:
        labels = rng.integers(0, _CLASSES, batch_size)
        model.compile(AdamW(1e-4), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        times = _timed(lambda: model.train_on_batch(images, labels), seconds=seconds)
    slow, median, fast = (batch_size / value for value in np.quantile(times, [0.75, 0.5, 0.25]))
    flops = 2 * config.num_macs * (3 if kind == "training" else 1)
    return Rate(
        batch_size=batch_size,
        images_per_second=float(median),
        low=float(slow),
        high=float(fast),
        share_of_matmul_rate=float(median * flops / peak),
    )


def _timed(step: Callable[[], object], *, seconds: float) -> list[float]:
    """Returns the seconds of at least five rounds, after two for compilation and warm-up."""
    for _ in range(2):
        step()
    times, started = list[float](), time.perf_counter()
    while len(times) < 5 or time.perf_counter() - started < seconds:
        begun = time.perf_counter()
        step()
        times.append(time.perf_counter() - begun)
    return times


def _matmul_flops(dtype: str, side: int) -> float:
    matrix = keras.ops.cast(keras.random.normal((side, side), seed=0), dtype)
    times = _timed(lambda: keras.ops.convert_to_numpy(keras.ops.matmul(matrix, matrix)[:1, :1]), seconds=0.5)
    return 2 * side**3 / min(times)
