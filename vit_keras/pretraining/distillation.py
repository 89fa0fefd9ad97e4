"""Feature distillation: a student learns the features of a teacher, from images alone."""

from pathlib import Path

import keras
from keras import ops

from vit_keras.errors import InvalidArgumentError
from vit_keras.layers.base.checks import Tensor
from vit_keras.models.architecture import IMAGES
from vit_keras.models.features import feature_extractor
from vit_keras.models.wiring import read_model
from vit_keras.pretraining.base.objective import PretrainingModel
from vit_keras.pretraining.teacher import open_teacher
from vit_keras.validation import is_number

_EPSILON = 1e-6
_LINEAR_FROM = 2.0  # error from which smooth L1 is linear, as in the paper's code


class FeatureDistillation(PretrainingModel):
    """Trains a student to predict the pooled and the patch features of a teacher, each by a linear layer that is not kept.

    The teacher may have another size, patch size, image size and width. It gets the same images, resized and in its own range of pixels,
    in inference mode, and is neither trained nor saved. Its map of patches is resized to the student's grid. Each feature vector of the
    teacher is standardized, to mean 0 and variance 1, and the loss is the smooth L1 distance from it, of pooled features plus patches.

    Paper: Wei et al. 2022, arXiv 2205.14141, section 3: standardized targets, a linear projection of the student, and smooth L1. Theirs
    are all tokens of a teacher with the student's grid; here patches and pooled features, of a teacher with any grid.

    Args:
        encoder: The student, a vit_keras model; a head is left out.
        teacher: A vit_keras model or what `vk.load_model` takes; or another Keras model that returns features `(batch, dim)`, tokens or
            a feature map.
        teacher_range: Black and white of the teacher's images, where it is not a vit_keras model, such as (-1, 1).
        patch_weight: Of the patches' distance; 0 for pooled features alone.
        seed: Of the linear layers.

    Raises:
        InvalidArgumentError: The teacher returns no features, or takes other channels; the student takes images of any size.

    Example:
        >>> import numpy as np
        >>> from vit_keras import ViTConfig, vit
        >>> config = ViTConfig(image_size=16, patch_size=8, hidden_dim=16, num_layers=1, num_heads=2, mlp_dim=32)
        >>> teacher = vit(config.replace(image_size=32, hidden_dim=32))
        >>> model = FeatureDistillation(vit(config), teacher=teacher)
        >>> sorted(model(np.zeros((4, 16, 16, 3), "uint8")))
        ['loss', 'patch_distance', 'pooled_distance']
    """

    def __init__(
        self,
        encoder: keras.Model,
        *,
        teacher: keras.Model | str | Path,
        teacher_range: tuple[float, float] | None = None,
        patch_weight: float = 1.0,
        seed: int = 0,
        name: str = "feature_distillation",
    ) -> None:
        if teacher is encoder:
            raise InvalidArgumentError("Teacher and student are the same model: there is nothing to learn.")
        if not is_number(patch_weight) or patch_weight < 0:
            raise InvalidArgumentError(
                f"FeatureDistillation: patch_weight={patch_weight!r} is not a number of at least 0."
            )
        config = read_model(encoder).config
        if config.dynamic_image_size or config.max_num_patches is not None:
            raise InvalidArgumentError(
                f"The student {encoder.name!r} takes images of any size; distillation needs one grid of patches: build it without "
                "dynamic_image_size and max_num_patches."
            )
        opened = open_teacher(teacher, channels=config.channels, pixel_range=teacher_range)
        uses_patches = bool(patch_weight) and opened.patch_dim is not None
        tracked = ("pooled_distance", "patch_distance") if uses_patches else ("pooled_distance",)
        super().__init__(encoder, tracked=tracked, name=name)
        self.teacher = opened
        self.patch_weight = float(patch_weight) if uses_patches else 0.0
        outputs = [self.encoder.output]
        if uses_patches:
            norm = config.final_norm == "before"
            outputs.append(feature_extractor(self.encoder, blocks=-1, norm=norm, as_grid=True).outputs[0])
        self.features = keras.Model(read_model(self.encoder).tensors[IMAGES], outputs, name="student_features")
        self.pooled_projection = _make_projection(
            int(outputs[0].shape[-1]), opened.pooled_dim, seed, "pooled_projection"
        )
        if uses_patches:
            self.patch_projection = _make_projection(
                int(outputs[1].shape[-1]), int(opened.patch_dim or 0), seed + 1, "patch_projection"
            )

    def call(self, images: Tensor, training: bool | None = None) -> dict[str, Tensor]:
        """Returns the loss, and the distances it consists of.

        Shapes:
            images: `(batch, height, width, channels)`, pixels 0..255.
            returns: Each `(batch,)`, float32.
        """
        pooled, patches = self.teacher(images)
        found = self.features(images, training=training)
        found = found if isinstance(found, list | tuple) else [found]
        pooled_distance = _distance(self.pooled_projection(found[0]), pooled)
        if not self.patch_weight or patches is None:
            return {"loss": pooled_distance, "pooled_distance": pooled_distance}
        grid = tuple(found[1].shape[1:3])
        if tuple(patches.shape[1:3]) != grid:
            patches = ops.image.resize(
                patches, grid, interpolation="bilinear", antialias=True, data_format="channels_last"
            )
        patch_distance = ops.mean(_distance(self.patch_projection(found[1]), patches), axis=(1, 2))
        loss = pooled_distance + self.patch_weight * patch_distance
        return {"loss": loss, "pooled_distance": pooled_distance, "patch_distance": patch_distance}

    def describe(self) -> list[str]:
        """Returns sentences for the report of a run."""
        what = "pooled and patch features" if self.patch_weight else "pooled features"
        rows, columns = self.teacher.image_size
        return [
            f"The student learns the {what} of the teacher {self.teacher.name!r}, which sees the same images at {rows}x{columns} px.",
            "A distance of about 0.25 is that of predicting nothing; the lower, the more of the teacher's features is learned.",
        ]


def _make_projection(dim: int, target_dim: int, seed: int, name: str) -> keras.layers.Layer:
    layer = keras.layers.Dense(
        target_dim, kernel_initializer=keras.initializers.GlorotUniform(seed=seed), dtype="float32", name=name
    )
    layer.build((None, dim))
    return layer


def _distance(predicted: Tensor, target: Tensor) -> Tensor:
    """Returns the mean smooth L1 distance over the last axis from the standardized target."""
    mean = ops.mean(target, axis=-1, keepdims=True)
    target = (target - mean) / ops.sqrt(ops.var(target, axis=-1, keepdims=True) + _EPSILON)
    error = ops.abs(ops.cast(predicted, "float32") - target)
    smooth = ops.where(error < _LINEAR_FROM, ops.square(error) / (2 * _LINEAR_FROM), error - _LINEAR_FROM / 2)
    return ops.mean(smooth, axis=-1)
