"""Writes a model as a directory of timm or transformers."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vit_keras.config import ViTConfig
from vit_keras.data.images.preprocess import Preprocessing, default_preprocessing
from vit_keras.errors import InvalidArgumentError
from vit_keras.runtime.files import atomic_directory, write_text
from vit_keras.validation import list_words
from vit_keras.weights.mappings.config_fields import HF_PREPROCESSOR, HF_PROBLEM_TYPES
from vit_keras.weights.mappings.layouts import Array
from vit_keras.weights.mappings.libraries.huggingface import HF_MAE_DECODER
from vit_keras.weights.mappings.libraries.timm import timm_table
from vit_keras.weights.mappings.tables import GAP, Row, Table, Way, numbered
from vit_keras.weights.store import write_tensors
from vit_keras.weights.writers.huggingface_config import HuggingFaceModel, huggingface_model, masked_autoencoder_model
from vit_keras.weights.writers.huggingface_preprocessor import huggingface_preprocessor
from vit_keras.weights.writers.requirements import check_preprocessing
from vit_keras.weights.writers.timm_config import timm_config

TARGETS = ("timm", "huggingface")
_SHOWN = 10
_POSITIONS = "patch_encoder/position_embedding"
_log = logging.getLogger(__name__)


def write(
    weights: Mapping[str, Array],
    config: ViTConfig,
    directory: str | Path,
    *,
    to: str,
    class_names: Sequence[str] | None = None,
    classifier_activation: str | None = None,
    preprocessing: Preprocessing | None = None,
    task: str | None = None,
) -> Path:
    """Writes a model for another library: `config.json`, `model.safetensors`, and how it preprocesses images.

    `timm.create_model` with `"local-dir:PATH"`, or transformers' `AutoModel`, `AutoImageProcessor` and `pipeline` open the
    directory, which appears complete or not at all, and compute the model's logits. Where transformers has no such way to resize
    images, `preprocessor_config.json` is left out, with a logged warning. Dropout rates, `remat`, and how positions and patches are
    resized are not written: they do not change the outputs.

    Args:
        weights: The model's weights by name.
        config: The model's config.
        directory: The new directory; it must not exist.
        to: "timm" or "huggingface".
        class_names: Names of the head's outputs; by default their indices.
        classifier_activation: The model's final activation; only logits can be written.
        preprocessing: How images are resized to the model's size; None to resize without a crop.
        task: What the outputs mean: "multi_label" and "regression" become transformers' `problem_type`; None for one class per image.

    Raises:
        InvalidArgumentError: The library does not have such a model, or an argument is illegal.
        StorageError: The directory exists or cannot be written.

    Example:
        >>> import tempfile
        >>> import keras
        >>> from vit_keras import from_preset, model_config
        >>> model = from_preset("test_vit", num_classes=2)
        >>> arrays = {weight.path: keras.ops.convert_to_numpy(weight) for weight in model.weights}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     sorted(item.name for item in write(arrays, model_config(model), folder + "/out", to="timm").iterdir())
        ['config.json', 'model.safetensors']
    """
    if to not in TARGETS:
        raise InvalidArgumentError(f"to={to!r} is none of {list_words(TARGETS)}.")
    if classifier_activation not in (None, "linear"):
        raise InvalidArgumentError(
            f"The model ends in classifier_activation={classifier_activation!r}, and {to}'s models end in logits: write the same "
            "model without it, and let that library compute probabilities."
        )
    classes = int(weights["head/kernel"].shape[-1]) if "head/kernel" in weights else None
    if class_names is not None and len(class_names) != (classes or 0):
        raise InvalidArgumentError(f"{len(class_names)} class names for a model of {classes or 0} classes.")
    if preprocessing is None:
        preprocessing = default_preprocessing(config)
    else:
        check_preprocessing(preprocessing, config)
    if to == "timm":
        json_files = {"config.json": timm_config(config, classes, class_names, preprocessing)}
        tensors = translate(weights, config, timm_table(config))
    else:
        names = list(class_names) if class_names is not None else [str(index) for index in range(classes or 0)]
        tensors, json_files = _huggingface_files(weights, config, huggingface_model(config, names), preprocessing)
        if task in HF_PROBLEM_TYPES:
            json_files["config.json"]["problem_type"] = HF_PROBLEM_TYPES[task]
    return _write_files(Path(directory), tensors, json_files)


def write_masked_autoencoder(
    encoder: Mapping[str, Array],
    decoder: Mapping[str, Array],
    config: ViTConfig,
    directory: str | Path,
    *,
    decoder_fields: Mapping[str, Any],
) -> Path:
    """Writes a masked autoencoder as transformers' `ViTMAEForPreTraining` reads it: `config.json`, `model.safetensors`, preprocessing.

    Args:
        encoder: The encoder's weights by name, without those of pooling.
        decoder: The decoder's weights by name, which begin with "decoder/".
        config: The encoder's config.
        directory: The new directory; it must not exist.
        decoder_fields: Fields of `ViTMAEConfig` beyond those of the encoder.

    Raises:
        InvalidArgumentError: transformers does not have such a model.
        StorageError: The directory exists or cannot be written.
    """
    model = masked_autoencoder_model(config, decoder_fields)
    tensors, json_files = _huggingface_files(encoder, config, model, default_preprocessing(config))
    decoder_config = config.replace(num_layers=decoder_fields["decoder_num_hidden_layers"])
    return _write_files(Path(directory), tensors | translate(decoder, decoder_config, HF_MAE_DECODER), json_files)


def _write_files(target: Path, tensors: Mapping[str, Array], json_files: Mapping[str, dict[str, Any]]) -> Path:
    with atomic_directory(target) as unfinished:
        write_tensors(tensors, unfinished / "model.safetensors", metadata={"format": "pt"})
        for name, content in json_files.items():
            write_text(unfinished / name, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    return target


def _huggingface_files(
    weights: Mapping[str, Array], config: ViTConfig, model: HuggingFaceModel, preprocessing: Preprocessing
) -> tuple[dict[str, Array], dict[str, dict[str, Any]]]:
    on_prefix = config.class_token + config.distillation_token
    if _POSITIONS in weights and not config.position_on_prefix and on_prefix:
        positions = np.asarray(weights[_POSITIONS])
        # -0.0, because adding it to the tokens changes no bit when the file is read again.
        prefix = np.full((1, on_prefix, positions.shape[-1]), -0.0, positions.dtype)
        weights = {**weights, _POSITIONS: np.concatenate([prefix, positions], axis=1)}
    tensors = {model.full_name(name): array for name, array in translate(weights, config, model.table).items()}
    for name, shape in model.unused.items():
        tensors[model.prefix + name] = np.zeros(shape, "float32")
    json_files = {"config.json": model.config}
    preprocessor = huggingface_preprocessor(config, preprocessing)
    if preprocessor is not None:
        json_files[HF_PREPROCESSOR] = preprocessor
    else:
        _log.warning(
            "preprocessor_config.json is left out: transformers cannot resize images to %s px by crop_mode=%r, so resize them with "
            "the model's own preprocessing. It supports crop_mode='squash', and for square images 'center'.",
            config.image_size,
            preprocessing.crop_mode,
        )
    return tensors, json_files


def translate(weights: Mapping[str, Array], config: ViTConfig, table: Table) -> dict[str, Array]:
    """Returns weights under another library's names; loading them again gives the same bits."""
    return _Translation(weights, config, table).run()


@dataclass
class _Translation:
    weights: Mapping[str, Array]
    config: ViTConfig
    table: Table
    covered: set[str] = field(default_factory=set)
    tensors: dict[str, Array] = field(default_factory=dict)
    stacks: dict[tuple[str, int], list[Array]] = field(default_factory=dict)  # name and axis -> one array per block

    def run(self) -> dict[str, Array]:
        for item in self.table.rows:
            used_way = next((way for way in item.ways if way.when(self.config)), None)
            if used_way is not None:
                for block in range(self.config.num_layers) if item.is_per_block else [None]:
                    self._write_row(item, used_way, block)
        self.tensors |= {name: np.stack(arrays, axis=axis) for (name, axis), arrays in self.stacks.items()}
        left = [name for name in self.weights if name not in self.covered]
        if left:
            raise InvalidArgumentError(
                f"{self.table.title} has no place for weights of the model: {list_words(left, limit=_SHOWN)}."
            )
        return {name: np.ascontiguousarray(array) for name, array in self.tensors.items()}

    def _write_row(self, item: Row, used_way: Way, block: int | None) -> None:
        targets = [numbered(target, block) for target in item.targets]
        ours = [name for name in targets if name != GAP]
        if not all(name in self.weights for name in ours) or any(name in self.covered for name in ours):
            return
        self.covered.update(ours)
        arrays = [
            np.asarray(self.weights[name]) if name != GAP else np.zeros_like(self.weights[ours[0]]) for name in targets
        ]
        if not used_way.names:
            if any(np.any(np.asarray(array, "float32")) for array in arrays):
                raise InvalidArgumentError(
                    f"{self.table.title} has no {', '.join(ours)}; it can be written only if it is zero."
                )
            return
        whole = arrays[0] if len(arrays) == 1 else np.concatenate(arrays, axis=item.axis)
        parts = [whole] if len(used_way.names) == 1 else np.split(whole, len(used_way.names), axis=-1)
        for name, part in zip(used_way.names, parts, strict=True):
            theirs = numbered(name, block, digits=self.table.digits)
            array = used_way.layout.to_theirs(part, self.config)
            if used_way.stacked is not None:
                self.stacks.setdefault((theirs, used_way.stacked), []).append(array)
            else:
                self.tensors[theirs] = array
