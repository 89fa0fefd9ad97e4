"""A preset and its checkpoints."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vit_keras.config import ViTConfig

_FREE_LICENSES = ("Apache-2.0", "MIT")


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Trained weights of a preset.

    Args:
        tag: Name of the weights, after their training data.
        source: Naming convention of the file: "timm", "huggingface", "google", "meta" or "vit_keras".
        url: Address of the file; `hf://OWNER/REPOSITORY/FILE` is on the Hugging Face hub.
        license: License of the weights.
        sha256: Hash of the file, if known.
        num_classes: Classes of the head; None without a head.
        top1: ImageNet-1k accuracy, percent, as timm measured it at this preset's size.
        crop: Fraction of the resized image's shorter side that evaluation keeps.
        crop_mode: "center", or "squash" to resize to the exact size without a crop.
        interpolation: Interpolation of evaluation's resize.
        config: Fields of `ViTConfig` that differ from the preset's.
    """

    tag: str
    source: str
    url: str
    license: str
    sha256: str | None = None
    num_classes: int | None = None
    top1: float | None = None
    crop: float = 1.0
    crop_mode: str = "center"
    interpolation: str = "bicubic"
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def needs_acceptance(self) -> bool:
        """Whether the license restricts use, and has to be accepted."""
        return self.license not in _FREE_LICENSES


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A named Vision Transformer.

    Args:
        name: Name of the architecture, timm's where timm has it.
        family: Name of its file.
        description: Describes the family.
        paper: Address of the family's paper.
        source: Source of this preset's config.
        license: License of the family.
        recipe: Name of the recipe to train it with.
        params: Number of parameters without a head, as stated in the file.
        config: The model's config.
        weights: Checkpoints by tag.
    """

    name: str
    family: str
    description: str
    paper: str
    source: str
    license: str
    recipe: str
    params: int
    config: ViTConfig
    weights: Mapping[str, Checkpoint] = field(default_factory=dict)


def checkpoint_bytes(config: ViTConfig, checkpoint: Checkpoint) -> int:
    """Returns the size in bytes of a model's checkpoint in float32, heads included."""
    heads = 2 if config.has_two_heads else 1
    return 4 * (config.num_params + heads * (config.feature_dim + 1) * (checkpoint.num_classes or 0))
