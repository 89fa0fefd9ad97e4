"""Compares a model, block by block, with what another library computed from the same weights and pixels."""

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
from vit_keras.weights import load, write_tensors

TOLERANCE = 1e-4
"""Largest difference allowed, absolute, and once more relative to the reference."""


@dataclass(frozen=True)
class Difference:
    """How far one output is from the reference.

    Args:
        output: "block 0" and so on, or "logits".
        largest: Largest absolute difference.
        within: Whether each number is within `TOLERANCE`.
    """

    output: str
    largest: float
    within: bool


@dataclass(frozen=True)
class Reference:
    """What another library computed.

    Args:
        made_by: Which library, and its version.
        config: The model's.
        weights: Its weights under timm's names; empty where the checkpoint is known by its preset.
        pixels: Images `(batch, height, width, channels)`, 0..255.
        blocks: Each block's output.
        logits: The model's output.
    """

    made_by: str
    config: ViTConfig
    weights: dict[str, np.ndarray]
    pixels: np.ndarray
    blocks: tuple[np.ndarray, ...]
    logits: np.ndarray

    def build(self) -> keras.Model:
        """Returns the model with the weights that the reference holds.

        Raises:
            WeightMismatchError: The weights do not fit the config.
        """
        model = vit(self.config, num_classes=self.logits.shape[-1])
        with tempfile.TemporaryDirectory() as folder:
            write_tensors(self.weights, Path(folder) / "model.safetensors")
            load(model, folder, source="timm", keep_on_failure=False)
        return model


def read_reference(path: str | Path) -> Reference:
    """Returns what a reference file holds, as `scripts/make_references.py` writes it.

    Args:
        path: A safetensors file with `pixels`, `block/00` and on, `logits`, perhaps `weights/...`, and the config and the
            library in its metadata.

    Raises:
        StorageError: The file is not there.
        CorruptFileError: It is no such file.
    """
    try:
        with safe_open(path, "numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  safe_open is no dict
    except FileNotFoundError as error:
        raise StorageError(
            f"{path}: there is no such file; a reference is what scripts/make_references.py writes, and tests/golden/timm has some."
        ) from error
    except (OSError, SafetensorError) as error:
        raise CorruptFileError(f"{path}: not a whole safetensors file ({error}).") from error
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
        raise CorruptFileError(f"{path}: this is no reference, {error} is missing or wrong.") from error


def compare(model: keras.Model, reference: Reference) -> Iterator[Difference]:
    """Gives the difference after every block and at the logits, in this order.

    Args:
        model: A model that `vit` or `from_preset` made.
        reference: What another library computed from the same weights.

    Raises:
        WeightMismatchError: The model is another one than the reference's.
    """
    config = model_config(model)
    if config.num_layers != len(reference.blocks) or model.input_shape[1:] != reference.pixels.shape[1:]:
        raise WeightMismatchError(
            f"The reference has {len(reference.blocks)} blocks and images of {reference.pixels.shape[1:]}, the model "
            f"{config.num_layers} and {model.input_shape[1:]}."
        )
    names = [f"block_{index:02d}" for index in range(config.num_layers)]
    inside = keras.Model(model.input, [*(model.get_layer(name).output for name in names), model.output])
    outputs = inside(reference.pixels)
    labels = [*(f"block {index}" for index in range(config.num_layers)), "logits"]
    for label, output, expected in zip(labels, outputs, [*reference.blocks, reference.logits], strict=True):
        found = keras.ops.convert_to_numpy(keras.ops.cast(output, "float32"))
        difference = np.abs(found - expected)
        within = bool((difference <= TOLERANCE + TOLERANCE * np.abs(expected)).all())
        yield Difference(label, float(difference.max()), within)
