"""Masked autoencoders as transformers stores them: `ViTMAEForPreTraining`, encoder and decoder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from vit_keras.errors import CorruptFileError, InvalidArgumentError, StorageError, WeightMismatchError
from vit_keras.models.vit import vit
from vit_keras.pretraining.mae.decoder import MLP_RATIO
from vit_keras.pretraining.mae.model import MaskedAutoencoder
from vit_keras.pretraining.mae.visible import UNTRAINED
from vit_keras.weights.formats.opening import open_tensors
from vit_keras.weights.formats.tensor_file import TensorFile
from vit_keras.weights.loading import read_weights
from vit_keras.weights.mappings.layouts import Array
from vit_keras.weights.mappings.libraries.huggingface import HF_MAE_DECODER
from vit_keras.weights.mappings.tables import numbered
from vit_keras.weights.planning import plan
from vit_keras.weights.settings.read import CONFIG, read_json, read_settings
from vit_keras.weights.store import is_finite
from vit_keras.weights.writing import write_masked_autoencoder

# transformers' own, for fields that a config.json leaves out.
_DEFAULTS = {
    "decoder_hidden_size": 512, "decoder_num_hidden_layers": 8, "decoder_num_attention_heads": 16, "decoder_intermediate_size": 2048,
    "mask_ratio": 0.75, "norm_pix_loss": False,
}  # fmt: skip
_SHOWN = 5


def load_masked_autoencoder(directory: str | Path) -> MaskedAutoencoder:
    """Returns the masked autoencoder of a directory that transformers' `ViTMAEForPreTraining` or `save_masked_autoencoder` wrote.

    Raises:
        StorageError: There is no such directory, or it can't be read.
        InvalidArgumentError: It is of another model, or of an encoder without decoder.
        CorruptFileError: A file is damaged.
        WeightMismatchError: The weights do not fit the config.json.

    Example:
        >>> import tempfile
        >>> from vit_keras import from_preset
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = save_masked_autoencoder(MaskedAutoencoder(from_preset("test_vit")), folder + "/mae")
        ...     load_masked_autoencoder(path).encoder.output_shape
        (None, 64)
    """
    folder = Path(directory)
    fields = _read_fields(folder)
    settings = read_settings(folder)
    encoder = vit(settings.config())
    model = MaskedAutoencoder(
        encoder,
        mask_ratio=fields["mask_ratio"],
        decoder_dim=fields["decoder_hidden_size"],
        decoder_layers=fields["decoder_num_hidden_layers"],
        decoder_heads=fields["decoder_num_attention_heads"],
        norm_targets=fields["norm_pix_loss"],
    )
    variables = {weight.path: weight for weight in encoder.weights}
    shapes = {name: tuple(weight.shape) for name, weight in variables.items()}
    with open_tensors(folder) as file:
        arrays = _read_decoder(file, model)
        steps = plan(shapes, model.config, file, source="huggingface", stated=settings.stated)
        arrays |= read_weights(steps, file, variables, allow_nonfinite=False)
    for weight in (*encoder.weights, *model.decoder.weights):
        weight.assign(arrays[weight.path])
    return model


def save_masked_autoencoder(model: MaskedAutoencoder, directory: str | Path) -> Path:
    """Writes a masked autoencoder as transformers' `ViTMAEForPreTraining.from_pretrained` reads it, and returns the directory.

    Layers that pool are not written, since transformers' model has none. `vk.save_preset(model.encoder, ...)` writes the encoder alone.

    Args:
        model: With an encoder that transformers has as ViTMAE: square images, a class token, learned positions, LayerNorm.
        directory: The new directory; it must not exist.

    Raises:
        InvalidArgumentError: transformers does not have such a model.
        StorageError: The directory exists or cannot be written.

    Example:
        >>> import tempfile
        >>> from vit_keras import from_preset
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = save_masked_autoencoder(MaskedAutoencoder(from_preset("test_vit")), folder + "/mae")
        ...     sorted(file.name for file in path.iterdir())
        ['config.json', 'model.safetensors', 'preprocessor_config.json']
    """
    weights = {
        weight.path: keras.ops.convert_to_numpy(weight) for weight in (*model.encoder.weights, *model.decoder.weights)
    }
    encoder = {name: array for name, array in weights.items() if not name.startswith((*UNTRAINED, "decoder/"))}
    decoder = {name: array for name, array in weights.items() if name.startswith("decoder/")}
    fields = {
        "decoder_hidden_size": model.decoder.dim,
        "decoder_num_hidden_layers": model.decoder.num_layers,
        "decoder_num_attention_heads": model.decoder.num_heads,
        "decoder_intermediate_size": MLP_RATIO * model.decoder.dim,
        "mask_ratio": model.mask_ratio,
        "norm_pix_loss": model.norm_targets,
    }
    return write_masked_autoencoder(encoder, decoder, model.config, directory, decoder_fields=fields)


def _read_fields(folder: Path) -> dict[str, Any]:
    """Returns the fields of `ViTMAEConfig` beyond those of the encoder."""
    if not (folder / CONFIG).is_file():
        raise StorageError(f"{folder}: there is no directory with a {CONFIG}, as transformers writes it.")
    config_json = read_json(folder / CONFIG)
    kind = config_json.get("model_type") if isinstance(config_json, dict) else None
    if kind != "vit_mae":
        raise InvalidArgumentError(
            f'{folder / CONFIG}: model_type is {kind!r}, and "vit_mae" is expected. vk.from_preset loads models of other kinds.'
        )
    fields = {name: config_json.get(name, default) for name, default in _DEFAULTS.items()}
    wanted = MLP_RATIO * fields["decoder_hidden_size"]
    if fields["decoder_intermediate_size"] != wanted:
        raise InvalidArgumentError(
            f"{folder / CONFIG}: decoder_intermediate_size is {fields['decoder_intermediate_size']!r}, and vit_keras builds decoders with "
            f"{MLP_RATIO} times the decoder_hidden_size, {wanted}."
        )
    return fields


def _read_decoder(file: TensorFile, model: MaskedAutoencoder) -> dict[str, Array]:
    """Returns the decoder's weights by name, all checked."""
    names = {HF_MAE_DECODER.canonical(name): name for name in file.tensors if name.startswith("decoder.")}
    if not names:
        raise InvalidArgumentError(
            f"{file.path} has an encoder without decoder. vk.from_preset loads it, and MaskedAutoencoder(encoder) adds a new decoder."
        )
    wanted = {weight.path: tuple(weight.shape) for weight in model.decoder.weights}
    arrays, missing = dict[str, Array](), list[str]()
    for row in HF_MAE_DECODER.rows:
        for block in range(model.decoder.num_layers) if row.is_per_block else [None]:
            (target,), (way,) = row.targets, row.ways
            ours, theirs = numbered(target, block), [numbered(name, block, digits=1) for name in way.names]
            if ours not in wanted:
                continue
            missing += [name for name in theirs if name not in names]
            if not missing:
                parts = [way.layout.to_ours(file.read(names[name])) for name in theirs]
                arrays[ours] = np.concatenate(parts, axis=-1)
    _check(file, arrays, wanted, missing)
    return arrays


def _check(
    file: TensorFile, arrays: Mapping[str, Array], wanted: Mapping[str, tuple[int, ...]], missing: list[str]
) -> None:
    problems = [f"{name} is missing" for name in missing]
    problems += [
        f"{name} has the shape {array.shape}, not {wanted[name]}"
        for name, array in arrays.items()
        if array.shape != wanted[name]
    ]
    if problems:
        more = f", and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise WeightMismatchError(
            f"{file.path}: the decoder does not fit its {CONFIG}: {'; '.join(problems[:_SHOWN])}{more}."
        )
    bad = [name for name, array in arrays.items() if not is_finite(array)]
    if bad:
        raise CorruptFileError(f"{file.path}: NaN or infinity in {bad[0]}.")
