"""The devices of a run: which there are, and a block in which Keras trains on all of them."""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
from rich.console import Console

from vit_keras.distributed.arguments import check_devices
from vit_keras.distributed.cluster import is_chief, process_count, process_id
from vit_keras.distributed.fsdp import FullySharded
from vit_keras.distributed.join_launch import join_launch
from vit_keras.distributed.unsupported import check_torch_group
from vit_keras.errors import ClusterError, InvalidArgumentError
from vit_keras.runtime.devices import devices as list_devices
from vit_keras.validation import list_words


@dataclass(frozen=True, kw_only=True)
class Devices:
    """The devices of a run.

    Args:
        names: All of them, on all hosts, such as "gpu:0".
        distribution: How they share the run; "none" for a single device.
        process: Which process this is, from 0, and how many there are.
    """

    names: tuple[str, ...] = ()
    distribution: str = "none"
    process: tuple[int, int] = (0, 1)

    @property
    def count(self) -> int:
        """Number of devices that share each batch."""
        return max(1, len(self.names)) if self.distribution != "none" else 1

    @property
    def needs_full_batches(self) -> bool:
        """Whether every batch must have the same number of images on every device."""
        return self.count > 1 and keras.backend.backend() == "jax"

    def check_batch(self, size: int, *, what: str = "batch_size") -> None:
        """Raises `InvalidArgumentError` where the devices can't share a batch equally."""
        if size % self.count:
            lower, upper = size // self.count * self.count, -(-size // self.count) * self.count
            fitting = list_words([str(each) for each in (lower, upper) if each])
            raise InvalidArgumentError(
                f"{what}={size} can't be shared equally by {self.count} devices; the nearest that can: {fitting}. Or use fewer devices."
            )

    def fit_batch(self, size: int) -> int:
        """Returns the largest batch size up to `size` that the devices share equally, at least one image per device."""
        return max(self.count, size // self.count * self.count)

    def describe(self) -> str:
        """Returns a line such as "8 x gpu in 2 processes, data parallel"."""
        kinds = sorted({name.partition(":")[0] for name in self.names}) or ["device"]
        hosts = f" in {self.process[1]} processes" if self.process[1] > 1 else ""
        how = {"data": ", data parallel", "fsdp": ", fully sharded"}.get(self.distribution, "")
        return f"{max(1, len(self.names))} x {list_words(kinds)}{hosts}{how}"


def choose_devices(devices: Any = "auto", distribution: str = "data") -> Devices:
    """Returns the devices that a run uses: all that there are, or so many of this process.

    Args:
        devices: "auto" for all, or a number of them; of several processes always all.
        distribution: One of `DISTRIBUTIONS`.

    Raises:
        InvalidArgumentError: An argument is not legal, or there are fewer devices.
        ClusterError: The backend can't train so.
    """
    check_devices(devices, distribution)
    backend, processes = keras.backend.backend(), process_count()
    found = tuple(list_devices()) if backend != "tensorflow" else tuple(_tensorflow_devices())
    if devices != "auto" and devices * processes > len(found):
        raise InvalidArgumentError(
            f"devices={devices}, but {f'{processes} processes have' if processes > 1 else 'there are only'} {len(found)} here: "
            f'{", ".join(found[:16])}. Use devices={len(found) // processes}, or devices="auto" for all.'
        )
    if processes > 1:
        if distribution == "none":
            raise ClusterError(
                f'{processes} processes were launched together, and distribution="none" would train the same model in each: use '
                '"data" or "fsdp", or start one process.'
            )
        if devices != "auto" and devices * processes != len(found):
            raise ClusterError(
                f"devices={devices}, but the {processes} processes of this launch have {len(found)} devices: give each process only the "
                "devices it is to use, with CUDA_VISIBLE_DEVICES or the launcher's options."
            )
    chosen = found if devices == "auto" else found[: devices * processes]
    if distribution == "none":
        chosen = found[:1]
    if backend == "torch":
        _check_torch(distribution, devices)
    if len(chosen) == 1:
        return Devices(names=chosen)
    if distribution == "fsdp" and backend != "jax":
        raise ClusterError(
            'distribution="fsdp" shards the weights with JAX: set KERAS_BACKEND=jax, or use distribution="data".'
        )
    return Devices(names=chosen, distribution=distribution, process=(process_id(), processes))


_in_use = [Devices()]  # the innermost last


def devices_in_use() -> Devices:
    """Returns the devices of the innermost `run_on`; a single one outside."""
    return _in_use[-1]


@contextmanager
def run_on(devices: Any = "auto", distribution: str = "data") -> Iterator[Devices]:
    """Joins the processes of a launch, if this is one, and chooses the devices that runs inside the block train on.

    Raises:
        InvalidArgumentError: An argument is not legal, or there are fewer devices.
        ClusterError: The processes or the backend can't train together.
    """
    check_devices(devices, distribution)
    if distribution != "none":
        join_launch()
    _in_use.append(choose_devices(devices, distribution))
    try:
        yield _in_use[-1]
    finally:
        _in_use.pop()


def chief_console(console: Console) -> Console:
    """Returns the console on the process that prints for all, and a silent one on the others."""
    return console if is_chief() else Console(quiet=True)


@contextmanager
def use_devices(devices: Devices) -> Iterator[None]:
    """Makes every model that is built inside the block train on these devices; the caller's distribution is restored after it.

    On JAX it is a distribution of Keras, on TensorFlow the scope of a `MirroredStrategy`; one device needs neither.
    """
    if devices.count == 1:
        yield
        return
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        if tf.distribute.has_strategy():  # of the caller
            yield
            return
        with _mirrored_strategy(devices.names).scope():
            yield
        return
    with distribution_scope(_make_distribution(devices)):
        yield


@contextmanager
def one_device() -> Iterator[None]:
    """Makes models inside the block belong to this process alone, without the others and their devices."""
    if keras.backend.backend() != "jax":
        yield
        return
    with distribution_scope(None):
        yield


@contextmanager
def distribution_scope(distribution: Any) -> Iterator[None]:
    """Sets a distribution of Keras inside the block."""
    before = keras.distribution.distribution()
    keras.distribution.set_distribution(distribution)
    try:
        yield
    finally:
        keras.distribution.set_distribution(before)


def _make_distribution(devices: Devices) -> Any:
    names = list(devices.names)
    if devices.distribution == "fsdp":
        return FullySharded(names)
    return keras.distribution.DataParallel(devices=names, auto_shard_dataset=False)


def _tensorflow_devices() -> list[str]:
    """Returns the GPUs, or else the CPUs, which are several where a test made them so."""
    import tensorflow as tf

    found = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return [f"{device.device_type.lower()}:{device.name.rpartition(':')[2]}" for device in found]


@functools.cache  # the collectives of a second strategy in a process collide with those of the first
def _mirrored_strategy(names: tuple[str, ...]) -> Any:
    import tensorflow as tf

    return tf.distribute.MirroredStrategy([name.upper() for name in names])


def _check_torch(distribution: str, devices: Any) -> None:
    """Raises where Keras on torch would train another model in each process, or on one device of several."""
    check_torch_group()
    if distribution == "fsdp" or (devices != "auto" and devices > 1):
        raise ClusterError("Keras on torch trains on one device: set KERAS_BACKEND=jax for several.")
