"""Estimates the parameters, MACs and training memory of a model, and reads the free memory of a device."""

from pathlib import Path

import keras
import psutil

from vit_keras.config import ViTConfig
from vit_keras.runtime.devices import devices

_FLOAT = 4  # bytes
_STATE = 4  # numbers per weight: itself, its gradient, and the two moments of AdamW
_USABLE = 0.9  # of the free memory: the backend, its workspace and the images need the rest


def model_cost(config: ViTConfig, *, num_classes: int) -> dict[str, int]:
    """Returns the parameters, and the MACs per image, of a model with its head."""
    heads = 2 if config.has_two_heads else 1
    return {
        "parameters": config.num_params + heads * (config.feature_dim + 1) * num_classes,
        "macs": config.num_macs + heads * config.feature_dim * num_classes,
    }


def training_bytes(config: ViTConfig, *, num_classes: int, batch_size: int) -> int:
    """Estimates the memory of a training step: weights, gradients and optimizer in float32, and activations."""
    weights = model_cost(config, num_classes=num_classes)["parameters"]
    return _STATE * _FLOAT * weights + batch_size * config.activation_bytes(_FLOAT)


def largest_batch(config: ViTConfig, *, num_classes: int, free: int, bytes_per_number: int = _FLOAT) -> int:
    """Returns the largest batch size whose training step should fit in memory; 0 where one image does not fit."""
    fixed = training_bytes(config, num_classes=num_classes, batch_size=0)
    return max(0, int((_USABLE * free - fixed) // config.activation_bytes(bytes_per_number)))


def free_bytes(device: str | None = None) -> int:
    """Returns the free memory of a device, or of the container on a CPU, in bytes."""
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
    if keras.backend.backend() == "jax":
        import jax

        stats = jax.local_devices()[number].memory_stats() or {}
        return stats["bytes_limit"] - stats["bytes_in_use"] if "bytes_limit" in stats else None
    if keras.backend.backend() == "torch":
        import torch

        return int(torch.cuda.mem_get_info(number)[0])
    return None
