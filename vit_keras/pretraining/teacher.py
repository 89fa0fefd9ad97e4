"""A teacher: a trained model whose pooled and patch features another model learns."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from vit_keras.errors import InvalidArgumentError
from vit_keras.layers.base.checks import Tensor
from vit_keras.models.architecture import IMAGES
from vit_keras.models.features import feature_extractor
from vit_keras.models.output_kind import find_output_kind
from vit_keras.models.wiring import ModelParts, read_model
from vit_keras.validation import is_number
from vit_keras.zoo.load_model import open_model

_BYTES = (0.0, 255.0)
_NORMALIZING = ("Rescaling", "Normalization")  # layers of Keras by which a model normalizes pixels 0..255 itself
_SIDE = 224  # px, of a model that takes images of any size


@dataclass(frozen=True, eq=False, kw_only=True)
class Teacher:
    """A frozen model, and what has to be done to images and outputs to use it. A plain object: Keras neither trains nor saves it.

    Args:
        model: Returns pooled features, a map of patches, or both in this order.
        name: For messages.
        image_size: Height and width of its images, px.
        channels: 1 or 3.
        pixel_range: Its black and white.
        pooled_dim: Width of its pooled features.
        patch_dim: Width of its patches; None for a model that has only pooled features.
    """

    model: keras.Model
    name: str
    image_size: tuple[int, int]
    channels: int
    pixel_range: tuple[float, float]
    pooled_dim: int
    patch_dim: int | None

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Returns pooled features and the map of patches of images 0..255 of any size, without gradients, as in inference.

        Shapes:
            images: `(batch, height, width, channels)`, with 1 channel or as many as the teacher takes.
            returns: `(batch, dim)` and `(batch, rows, columns, dim)`, float32.
        """
        images = ops.cast(images, "float32")
        if images.shape[-1] == 1 < self.channels:
            images = ops.repeat(images, self.channels, axis=-1)
        if images.shape[1:3] != self.image_size:
            images = ops.image.resize(
                images, self.image_size, interpolation="bilinear", antialias=True, data_format="channels_last"
            )
        low, high = self.pixel_range
        if self.pixel_range != _BYTES:
            images = low + images * ((high - low) / 255)
        pooled, patches = _split_outputs(self.model(images, training=False))
        return ops.stop_gradient(pooled), None if patches is None else ops.stop_gradient(patches)


def open_teacher(
    teacher: keras.Model | str | Path, *, channels: int, pixel_range: tuple[float, float] | None = None
) -> Teacher:
    """Returns a teacher, after computing the features of two images of noise with it.

    Args:
        teacher: A vit_keras model or what `vk.load_model` takes, whose features in front of the head and tokens behind the last block
            are used; or another Keras model, which returns features `(batch, dim)`, tokens, or a feature map.
        channels: Of the student's images.
        pixel_range: Black and white of the teacher's images. None for 0..255 of a vit_keras model, and of another one that starts with a
            `Rescaling` or `Normalization` layer.

    Raises:
        InvalidArgumentError: The model returns probabilities or something else than features, takes other channels, or its pixel range
            is not known.
    """
    model = teacher if isinstance(teacher, keras.Model) else open_model(teacher).model
    parts = _read_parts(model)
    if pixel_range is None:
        if parts is None and not _normalizes(model):
            raise InvalidArgumentError(
                f"The teacher {model.name!r} is not a vit_keras model and does not start with a layer that normalizes pixels, so the "
                "range of its pixels is not known. Give it: teacher_range=(0, 255), (0, 1) or (-1, 1), as in its documentation."
            )
        pixel_range = _BYTES
    if len(pixel_range) != 2 or not all(map(is_number, pixel_range)) or not pixel_range[0] < pixel_range[1]:
        raise InvalidArgumentError(
            f"teacher_range={pixel_range!r} is not black and white, such as (0, 255) or (-1, 1)."
        )
    image_size, own_channels = _read_input(model)
    if parts is not None:
        image_size = parts.config.image_size  # where it takes any size
    if channels not in (1, own_channels):
        raise InvalidArgumentError(
            f"The teacher {model.name!r} takes images of {own_channels} channel{'s' * (own_channels != 1)}, and the student's have "
            f"{channels}. Take a teacher or a student for the same; only gray images are turned into color."
        )
    features = model if parts is None else _features_of(model, parts)
    noise = np.random.default_rng(0).integers(0, 256, (2, *image_size, own_channels)).astype("float32")
    low, high = (float(edge) for edge in pixel_range)
    outputs = features(ops.convert_to_tensor(low + noise * ((high - low) / 255)), training=False)
    _check_outputs(model, outputs, kind=None if parts is not None else _find_kind(model))
    pooled, patches = _split_outputs(outputs)
    return Teacher(
        model=features,
        name=model.name,
        image_size=image_size,
        channels=own_channels,
        pixel_range=(low, high),
        pooled_dim=int(pooled.shape[-1]),
        patch_dim=None if patches is None else int(patches.shape[-1]),
    )


def _read_parts(model: keras.Model) -> ModelParts | None:
    """Returns the parts of a vit_keras model; None for another one."""
    try:
        return read_model(model)
    except InvalidArgumentError:
        return None


def _features_of(model: keras.Model, parts: ModelParts) -> keras.Model:
    """Returns a model of pooled features and, where the patches have one grid, of their map, with the layers of a vit_keras model."""
    if parts.config.max_num_patches is not None:
        raise InvalidArgumentError(f"The teacher {model.name!r} takes packed images: take one for images of one size.")
    grid = feature_extractor(model, blocks=-1, norm=parts.config.final_norm == "before", as_grid=True).outputs[0]
    return keras.Model(parts.tensors[IMAGES], [parts.features, grid], name=f"{model.name}_teacher")


def _read_input(model: keras.Model) -> tuple[tuple[int, int], int]:
    shape = getattr(model, "input_shape", None)
    if not isinstance(shape, tuple) or len(shape) != 4 or shape[-1] not in (1, 3):
        raise InvalidArgumentError(
            f"The teacher {model.name!r} must take images (batch, height, width, 1 or 3 channels) alone; it takes {shape}. Wrap it: "
            "keras.Model(images, features)."
        )
    height, width = (side or _SIDE for side in shape[1:3])
    return (int(height), int(width)), int(shape[-1])


def _find_kind(model: keras.Model) -> str | None:
    try:
        return find_output_kind(model)
    except (AttributeError, ValueError):  # not a functional model
        return None


def _normalizes(model: keras.Model) -> bool:
    """True if the first layer that computes something maps pixels 0..255 to its own range."""
    layers = [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
    if layers and isinstance(layers[0], keras.Model):
        return _normalizes(layers[0])
    return bool(layers) and type(layers[0]).__name__ in _NORMALIZING


def _check_outputs(model: keras.Model, outputs: Any, *, kind: str | None) -> None:
    tensors = outputs if isinstance(outputs, list | tuple) else [outputs]
    shapes = [getattr(tensor, "shape", ()) for tensor in tensors]
    how = "Use a model that ends in features: keras.Model(teacher.input, teacher.layers[-2].output)."
    if [len(shape) for shape in shapes] not in ([2], [3], [4], [2, 3], [2, 4]):
        raise InvalidArgumentError(
            f"The teacher {model.name!r} returns {shapes}: expected features (batch, dim), tokens (batch, tokens, dim), a map "
            "(batch, rows, columns, dim), or features and one of these."
        )
    arrays = [ops.convert_to_numpy(tensor) for tensor in tensors]
    if not all(np.isfinite(array).all() for array in arrays):
        raise InvalidArgumentError(
            f"The features of the teacher {model.name!r} are NaN or infinite for images of noise: its weights are broken, or its precision "
            "is too narrow."
        )
    first = arrays[0].astype("float64")
    sums = first.sum(axis=-1)
    if kind == "probabilities" or (
        first.ndim == 2 and first.shape[1] > 1 and (first >= 0).all() and np.allclose(sums, 1, atol=1e-3)
    ):
        raise InvalidArgumentError(
            f"The teacher {model.name!r} returns probabilities, which say little about features. {how} To learn its classes from labeled "
            "images, use vk.training.Distillation."
        )


def _split_outputs(outputs: Any) -> tuple[Tensor, Tensor | None]:
    """Returns pooled features and the map of patches in float32; the mean of the patches stands for missing pooled features."""
    tensors = [ops.cast(each, "float32") for each in (outputs if isinstance(outputs, list | tuple) else [outputs])]
    pooled = tensors.pop(0) if len(tensors[0].shape) == 2 else None
    patches = tensors[0] if tensors else None
    if patches is not None and len(patches.shape) == 3:
        side = math.isqrt(int(patches.shape[1]))  # the tokens that are too many for a square are prefix tokens
        patches = ops.reshape(patches[:, patches.shape[1] - side**2 :], (-1, side, side, patches.shape[2]))
    if pooled is None:
        pooled = ops.mean(patches, axis=(1, 2))
    return pooled, patches
