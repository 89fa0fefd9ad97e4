"""A preset and its checkpoints."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vit_keras.config import ViTConfig

PRETRAININGS = ("supervised", "self_supervised", "image_text", "distilled")
"""What weights were trained on first: labeled images, images alone, images with texts, or the features of other models."""

_FREE_LICENSES = ("Apache-2.0", "MIT")


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Trained weights of a preset."""

    tag: str  # name of the weights, after their training data
    source: str  # naming convention of the file: "timm", "huggingface", "google", "meta" or "vit_keras"
    license: str
    url: str | None = None  # address of the file; `hf://OWNER/REPOSITORY/FILE` is on the Hugging Face hub
    file: str | None = None  # in place of `url`: a preset directory in the package, under `presets/`
    sha256: str | None = None  # of the file, if known
    num_classes: int | None = None  # outputs of the head; None without one
    label_set: str | None = (
        None  # key of `LABEL_SETS` whose classes the head names; None for other outputs, such as embeddings
    )
    pretraining: str | None = None  # one of `PRETRAININGS`, before any fine-tuning; None where it is not stated
    top1: float | None = None  # ImageNet-1k accuracy, percent, of timm or the paper, at this preset's size
    note: str | None = None  # what the weights are for, where their tag does not say it
    crop: float = 1.0  # fraction of the resized image's shorter side that evaluation keeps
    crop_mode: str = "center"  # "center", or "squash" to resize to the exact size without a crop
    interpolation: str = "bicubic"  # of evaluation's resize
    config: Mapping[str, Any] = field(default_factory=dict)  # fields of `ViTConfig` that differ from the preset's

    @property
    def directory(self) -> Path | None:
        """The preset directory in the package; None for weights that are downloaded."""
        return None if self.file is None else Path(__file__).parent / self.file

    @property
    def needs_acceptance(self) -> bool:
        """Whether the license restricts use, and has to be accepted."""
        return self.license not in _FREE_LICENSES


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A named Vision Transformer."""

    name: str  # name of the architecture, timm's where timm has it
    family: str  # name of its file
    description: str
    paper: str  # address of the family's paper
    source: str  # source of this preset's config
    license: str
    recipe: str  # name of the recipe to train it with
    params: int  # without a head, as stated in the file
    config: ViTConfig
    weights: Mapping[str, Checkpoint] = field(default_factory=dict)  # by tag


def checkpoint_bytes(config: ViTConfig, checkpoint: Checkpoint) -> int:
    """Returns the size in bytes of a model's checkpoint in float32, heads included."""
    heads = 2 if config.has_two_heads else 1
    return 4 * (config.num_params + heads * (config.feature_dim + 1) * (checkpoint.num_classes or 0))
