"""Compares a model, block by block, with the outputs of another library for the same weights and pixels."""

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from safetensors import SafetensorError, safe_open

from vit_keras.config import ViTConfig
from vit_keras.errors import CorruptFileError, StorageError, WeightMismatchError
from vit_keras.models.vit import model_config, vit
from vit_keras.weights.loading import load
from vit_keras.weights.store import write_tensors

TOLERANCE = 1e-4  # allowed difference: this much, plus this fraction of the reference


@dataclass(frozen=True)
class Difference:
    """The difference of one output from the reference."""

    output: str  # "block 0"..., or "logits"
    largest: float
    within: bool  # whether each number is within `TOLERANCE`


@dataclass(frozen=True)
class Reference:
    """The outputs of another library."""

    made_by: str  # library and version
    config: ViTConfig
    weights: dict[str, np.ndarray]  # its weights under timm's names; empty where they are loaded from elsewhere
    pixels: np.ndarray  # images `(batch, height, width, channels)`, 0..255
    blocks: tuple[np.ndarray, ...]
    logits: np.ndarray

    def build(self) -> keras.Model:
        """Returns a model with the reference's weights."""
        model = vit(self.config, num_classes=self.logits.shape[-1])
        with tempfile.TemporaryDirectory() as folder:
            write_tensors(self.weights, Path(folder) / "model.safetensors")
            load(model, folder, source="timm", keep_on_failure=False)
        return model


def read_reference(path: str | Path) -> Reference:
    """Returns the content of a reference file, which `scripts/make_references.py` writes."""
    try:
        with safe_open(path, "numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  safe_open is no dict
    except FileNotFoundError as error:
        raise StorageError(
            f"{path}: there is no such file; scripts/make_references.py writes references, and tests/golden/timm has some."
        ) from error
    except (OSError, SafetensorError) as error:
        raise CorruptFileError(f"{path}: not a complete safetensors file ({error}).") from error
    try:
        return Reference(
            made_by=metadata["made_by"],
            config=ViTConfig.from_dict(json.loads(metadata["config"])),
            weights={name.removeprefix("weights/"): tensors[name] for name in tensors if name.startswith("weights/")},
            pixels=tensors["pixels"],
            blocks=tuple(tensors[name] for name in sorted(tensors) if name.startswith("block/")),
            logits=tensors["logits"],
        )
    except (KeyError, ValueError) as error:
        raise CorruptFileError(f"{path}: this is not a reference, {error} is missing or wrong.") from error


def compare(model: keras.Model, reference: Reference) -> Iterator[Difference]:
    """Yields the difference after each block, then of the logits."""
    config = model_config(model)
    if config.num_layers != len(reference.blocks) or model.input_shape[1:] != reference.pixels.shape[1:]:
        raise WeightMismatchError(
            f"The reference has {len(reference.blocks)} blocks and images of {reference.pixels.shape[1:]}, the model "
            f"{config.num_layers} and {model.input_shape[1:]}."
        )
    names = [f"block_{index:02d}" for index in range(config.num_layers)]
    inside = keras.Model(model.input, [*(model.get_layer(name).output for name in names), model.output])
    labels = [*(f"block {index}" for index in range(config.num_layers)), "logits"]
    expected_outputs = [*reference.blocks, reference.logits]
    for label, output, expected in zip(labels, inside(reference.pixels), expected_outputs, strict=True):
        found = keras.ops.convert_to_numpy(keras.ops.cast(output, "float32"))
        difference = np.abs(found - expected)
        within = bool((difference <= TOLERANCE + TOLERANCE * np.abs(expected)).all())
        yield Difference(label, float(difference.max()), within)
