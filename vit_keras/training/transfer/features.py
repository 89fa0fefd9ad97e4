"""Extracts the features that a model's head gets, and caches them in files."""

import hashlib
import json
import warnings
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from vit_keras.data import EncodedSplit, Split
from vit_keras.data.dataset.pipeline import make_batches
from vit_keras.errors import (
    CorruptFileError,
    DataError,
    EmptyDatasetError,
    InvalidArgumentError,
    StorageError,
    WeightMismatchError,
)
from vit_keras.models.architecture import IMAGES
from vit_keras.models.keras_model import VisionTransformer
from vit_keras.models.wiring import read_model
from vit_keras.weights.digest import digest_weights
from vit_keras.weights.store import read_tensors, write_tensors

_FORMAT = 1  # of the files


def extract_features(
    model: keras.Model,
    split: Split | EncodedSplit,
    *,
    batch_size: int = 256,
    cache: str | Path | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Returns the features of the images of a split, in order, in float32: the input of the last dense layer.

    For a model with two heads, this is the input of the class token's head. Dropout and stochastic depth are off.

    Args:
        model: Made by `vit` or `from_preset`, with a head or without; its weights are shared, not copied.
        split: The images.
        batch_size: Images per batch.
        cache: Folder that keeps features by model and images; None for no files. Damaged or unwritable files cause a warning.
        on_progress: Called with the number of images done and the total.

    Shapes:
        returns: `(count, feature_dim)`.

    Raises:
        EmptyDatasetError: The split has no images.
        DataError: The images have another size than the model's input, or a feature is not finite.
        InvalidArgumentError: The model was not made by `vit`, or the batch size is not positive.
        StorageError: The folder cannot be created.

    Example:
        >>> from vit_keras import ViTConfig, vit
        >>> config = ViTConfig(image_size=16, patch_size=8, hidden_dim=16, num_layers=1, num_heads=2, mlp_dim=32)
        >>> images = Split(np.zeros((3, 16, 16, 3), "uint8"), np.zeros(3, "int32"))
        >>> extract_features(vit(config, num_classes=2), images).shape
        (3, 16)
    """
    if type(batch_size) is not int or batch_size < 1:
        raise InvalidArgumentError(f"batch_size must be a positive integer, got {batch_size!r}.")
    parts = read_model(model)
    if not len(split):
        raise EmptyDatasetError("The split has no images, so there are no features to compute.")
    wanted = parts.config.image_shape
    if split.image_shape != wanted:
        raise DataError(
            f"The images are {split.image_shape} (height, width, channels) and the model takes {wanted}. Load them with the model's "
            "image_size and channels, or with preprocessing=vk.data.default_preprocessing(vk.model_config(model))."
        )
    extractor = VisionTransformer(parts.tensors[IMAGES], parts.features, name=f"{model.name}_features")
    if cache is None:
        return compute_features(extractor, split, batch_size, on_progress)
    folder = Path(cache)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"{folder}: the folder for features cannot be created ({error}). Choose another one."
        ) from error
    key = _key(model, extractor, split)
    path = folder / f"features-{key}.safetensors"
    found = _read(path, key, (len(split), extractor.output_shape[-1]))
    if found is not None:
        if on_progress is not None:
            on_progress(len(split), len(split))
        return found
    features = compute_features(extractor, split, batch_size, on_progress)
    if not (isinstance(split, EncodedSplit) and split.replaced):  # the key is of the original files
        _write(path, key, features)
    return features


def compute_features(
    extractor: keras.Model,
    split: Split | EncodedSplit,
    batch_size: int,
    on_progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Returns the outputs `(count, dim)` of a model that returns features, in float32; it compiles once per batch size."""
    batch_size, done = min(batch_size, len(split)), 0
    features = np.empty((len(split), extractor.output_shape[-1]), "float32")
    for images, _ in make_batches(split, batch_size):
        pixels = images.numpy()
        count = len(pixels)
        if count < batch_size:  # padded, so that only one shape is compiled
            pixels = np.concatenate([pixels, np.zeros((batch_size - count, *pixels.shape[1:]), pixels.dtype)])
        features[done : done + count] = extractor.predict_on_batch(pixels)[:count]
        bad = np.flatnonzero(~np.isfinite(features[done : done + count]).all(axis=1))
        if bad.size:
            raise DataError(
                f"The features of image {done + bad[0]} are not finite (NaN or infinity): the model's weights are broken, or its "
                "precision is too narrow; try float32."
            )
        done += count
        if on_progress is not None:
            on_progress(done, len(split))
    return features


def _key(model: keras.Model, extractor: keras.Model, split: Split | EncodedSplit) -> str:
    """Returns a hash of everything that the features depend on, so not of the head."""
    settings = {
        "format": _FORMAT,
        "config": read_model(model).config.to_dict(),
        "precision": [layer.compute_dtype for layer in extractor.layers],
        "backend": keras.backend.backend(),
        "images": split.digest.hex(),
    }
    arrays = ((weight.path, keras.ops.convert_to_numpy(weight)) for weight in extractor.weights)
    labeled = ((f"{path} {array.dtype} {array.shape}", array) for path, array in arrays)
    return digest_weights(labeled, prefix=json.dumps(settings, sort_keys=True))


def _read(path: Path, key: str, shape: tuple[int, int]) -> np.ndarray | None:
    """Returns the features of a file; None, with a warning, if they cannot be used."""
    if not path.exists():
        return None
    try:
        tensors = read_tensors(path, {"features": shape, "key": (32,), "sha256": (32,)})
        features: np.ndarray = tensors["features"]
        if features.dtype != np.float32:
            raise CorruptFileError(f"{path}: the features are {features.dtype}, not float32.")
        if tensors["key"].tobytes().hex() != key:
            raise CorruptFileError(f"{path}: these are features of another model or other images.")
        if tensors["sha256"].tobytes() != hashlib.sha256(features.data).digest():
            raise CorruptFileError(f"{path}: the checksum of the features does not match.")
    except (CorruptFileError, WeightMismatchError, StorageError) as error:
        warnings.warn(f"{error} The features are computed again.", stacklevel=3)
        return None
    return features


def _write(path: Path, key: str, features: np.ndarray) -> None:
    checks = {"key": bytes.fromhex(key), "sha256": hashlib.sha256(features.data).digest()}
    try:
        write_tensors(
            {"features": features, **{name: np.frombuffer(value, "uint8") for name, value in checks.items()}}, path
        )
    except StorageError as error:
        warnings.warn(f"{error} The features were computed, but not cached.", stacklevel=3)
