"""What `run.json` holds, as a person reads it."""

from collections.abc import Mapping, Sequence
from typing import Any

from vit_keras.config import ViTConfig

_LISTED = 20


def facts_of(values: Mapping[str, Any], name: str = "") -> list[tuple[str, str]]:
    """Returns names and values as words; what is inside of something has both their names.

    Args:
        values: What JSON can hold.
        name: What it is inside of; an empty word for nothing.

    Example:
        >>> facts_of({"epochs": 10, "augmentation": {"flip_rate": 0.5}, "beta": None})
        [('epochs', '10'), ('augmentation.flip_rate', '0.5'), ('beta', 'none')]
    """
    facts = []
    for key, value in values.items():
        whole = f"{name}.{key}" if name else str(key)
        if isinstance(value, Mapping):
            facts += facts_of(value, whole)
        else:
            facts.append((whole, _words(value)))
    return facts


def _words(value: Any) -> str:
    if isinstance(value, list | tuple):
        rest = f" and {len(value) - _LISTED:,} more" if len(value) > _LISTED else ""
        return ", ".join(_words(item) for item in value[:_LISTED]) + rest
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    return "none" if value is None else f"{value}"


def spoken(count: float) -> str:
    """Returns a large number in a few letters.

    Args:
        count: 0 or more.

    Example:
        >>> spoken(812), spoken(21_665_664), spoken(2e9)
        ('812', '21.7 M', '2 G')
    """
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:.0f}"


def cost_of(config: ViTConfig, *, num_classes: int) -> dict[str, int]:
    """Returns the parameters and the MACs of an image, those of the head among them.

    Args:
        config: The model's.
        num_classes: Classes of the head.

    Example:
        >>> from vit_keras.presets import load_preset
        >>> cost_of(load_preset("vit_base_patch16_224").config, num_classes=1000)["parameters"]
        86567656
    """
    heads = 2 if config.has_two_heads else 1
    return {
        "parameters": config.num_params + heads * (config.feature_dim + 1) * num_classes,
        "macs": config.num_macs + heads * config.feature_dim * num_classes,
    }


def images_a_second(record: Mapping[str, Any], history: Sequence[Mapping[str, float]]) -> float | None:
    """Returns how many training images a run went through in a second, the validation's time included; None where it is unknown.

    Args:
        record: What `run.json` holds.
        history: One row of metrics an epoch.
    """
    seconds = sum(row.get("seconds", 0.0) for row in history)
    images = record["data"].get("images", {}).get("train")
    return len(history) * images / seconds if seconds > 0 and images else None
