"""What a training step takes of memory, in closed form, and what there is."""

from pathlib import Path

import keras
import psutil

from vit_keras.config import ViTConfig
from vit_keras.runtime.devices import devices
from vit_keras.training.runs.facts import cost_of

_FLOAT = 4  # bytes
_STATE = 4  # numbers a weight: itself, its gradient, and the two moments of AdamW
_SPARED = 0.9  # of what is free: the backend, its workspace and the images need some too


def training_bytes(config: ViTConfig, *, num_classes: int, batch_size: int, bytes_per_number: int = _FLOAT) -> int:
    """Returns about what a training step takes: weights, gradients, optimizer in float32, and the batch's activations.

    Args:
        config: The shape.
        num_classes: Classes of the head.
        batch_size: Images a step.
        bytes_per_number: Of activations: 4 for float32, 2 for bfloat16 and float16.

    Example:
        >>> config = ViTConfig(image_size=32, patch_size=4, hidden_dim=64, num_layers=2, num_heads=2, mlp_dim=128)
        >>> training_bytes(config, num_classes=10, batch_size=64) // 2**20
        35
    """
    weights = cost_of(config, num_classes=num_classes)["parameters"]
    return _STATE * _FLOAT * weights + batch_size * config.activation_bytes(bytes_per_number)


def largest_batch(config: ViTConfig, *, num_classes: int, free: int, bytes_per_number: int = _FLOAT) -> int:
    """Returns how many images a training step should have room for at most; 0 where not even one fits.

    Args:
        config: The shape.
        num_classes: Classes of the head.
        free: Bytes; a tenth of them is left alone.
        bytes_per_number: Of activations.

    Example:
        >>> config = ViTConfig(image_size=32, patch_size=4, hidden_dim=64, num_layers=2, num_heads=2, mlp_dim=128)
        >>> largest_batch(config, num_classes=10, free=2**30)
        1729
    """
    fixed = training_bytes(config, num_classes=num_classes, batch_size=0)
    return max(0, int((_SPARED * free - fixed) // config.activation_bytes(bytes_per_number)))


def free_bytes(device: str | None = None) -> int:
    """Returns the bytes that a device has free, or this process' container.

    Args:
        device: One of `devices()`; by default the first.
    """
    name = device or devices()[0]
    if not name.startswith("cpu"):
        found = _free_on_gpu(int(name.rpartition(":")[2]))
        if found is not None:
            return found
    free = int(psutil.virtual_memory().available)
    most, used = (Path(f"/sys/fs/cgroup/memory.{name}") for name in ("max", "current"))
    if most.is_file() and most.read_text().strip() != "max":
        free = min(free, int(most.read_text()) - int(used.read_text()))
    return free


def _free_on_gpu(number: int) -> int | None:
    """Returns what the backend says of a device; None where it says nothing."""
    if keras.backend.backend() == "jax":
        import jax

        stats = jax.local_devices()[number].memory_stats() or {}
        return stats["bytes_limit"] - stats["bytes_in_use"] if "bytes_limit" in stats else None
    if keras.backend.backend() == "torch":
        import torch

        return int(torch.cuda.mem_get_info(number)[0])
    return None
