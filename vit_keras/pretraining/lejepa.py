"""LeJEPA: embeddings of views of one image agree, and all embeddings together are an isotropic Gaussian."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops, random

from vit_keras.errors import InvalidArgumentError
from vit_keras.layers.base.checks import Tensor, check_fractions, check_positive
from vit_keras.pretraining.base.objective import PretrainingModel
from vit_keras.pretraining.sigreg import sigreg
from vit_keras.pretraining.views import ViewOptions, draw_views

_TEST_SEED = 0


class LeJEPA(PretrainingModel):
    """Trains an encoder so that views of an image have similar embeddings, without a teacher, a queue or stopped gradients.

    The loss is `(1 - weight) * invariance + weight * SIGReg`: the mean squared distance of the embedding of every view from the mean of
    the global ones, and the distance of each view's embeddings from an isotropic Gaussian (`sigreg`), which keeps them from
    collapsing. The embeddings are those of a projector on the encoder's features; it is not kept.

    Paper: Balestriero and LeCun 2025, arXiv 2511.08544. As published: loss, projector, directions, and views by random crops, flips,
    colors, gray and solarization. Different here: local views are resized to the size of the global ones, since the images are small; no
    hue or blur; on several devices each compares its own part of the batch.

    Args:
        encoder: A vit_keras model; a head is left out.
        num_global: Views of large parts of an image.
        num_local: Views of small parts.
        weight: Of SIGReg, from 0 to 1.
        projector_dims: Widths of the projector's layers, the last that of the embeddings.
        num_directions: Directions of SIGReg, drawn in every step.
        global_scale: Area of a global view, as minimum and maximum fraction of the image's.
        local_scale: Area of a local view.
        seed: Of the projector, views and directions.

    Raises:
        InvalidArgumentError: An argument is not legal, or the encoder takes images of any size or packed ones.

    Example:
        >>> from vit_keras import ViTConfig, vit
        >>> config = ViTConfig(image_size=16, patch_size=8, hidden_dim=16, num_layers=1, num_heads=2, mlp_dim=32)
        >>> model = LeJEPA(vit(config), projector_dims=(32, 8))
        >>> sorted(model(np.zeros((4, 16, 16, 3), "uint8")))
        ['invariance', 'loss', 'sigreg']
    """

    def __init__(
        self,
        encoder: keras.Model,
        *,
        num_global: int = 2,
        num_local: int = 2,
        weight: float = 0.02,
        projector_dims: tuple[int, ...] = (2048, 2048, 16),
        num_directions: int = 256,
        global_scale: tuple[float, float] = (0.3, 1.0),
        local_scale: tuple[float, float] = (0.05, 0.3),
        seed: int = 0,
        name: str = "lejepa",
    ) -> None:
        super().__init__(encoder, tracked=("invariance", "sigreg"), name=name)
        check_positive("LeJEPA", num_global=num_global, num_directions=num_directions)
        check_fractions("LeJEPA", weight=weight)
        if type(num_local) is not int or num_local < 0 or num_global + num_local < 2:
            raise InvalidArgumentError(
                f"LeJEPA compares at least two views of an image: num_global={num_global}, num_local={num_local!r}."
            )
        if not projector_dims or any(type(dim) is not int or dim < 1 for dim in projector_dims):
            raise InvalidArgumentError(f"LeJEPA: projector_dims={projector_dims!r} are not positive integers.")
        if None in self.encoder.input_shape[1:] or len(self.encoder.input_shape) != 4:
            raise InvalidArgumentError(
                f"LeJEPA draws views of one size, and {encoder.name!r} takes images of any size: build it without dynamic_image_size "
                "and max_num_patches."
            )
        self.num_global = num_global
        self.num_local = num_local
        self.weight = float(weight)
        self.num_directions = num_directions
        self.global_options = ViewOptions(scale=global_scale)
        self.local_options = ViewOptions(scale=local_scale)
        self.seed_generator = random.SeedGenerator(seed)
        self.projector = _make_projector(self.encoder.output_shape[-1], projector_dims, seed)

    def call(self, images: Tensor, training: bool | None = None) -> dict[str, Tensor]:
        """Returns the loss, and its two parts.

        Shapes:
            images: `(batch, height, width, channels)`, pixels 0..255.
            returns: "loss" and "invariance" `(batch,)`, "sigreg" a number.
        """
        seed = self.seed_generator if training else _TEST_SEED
        views = self._draw(images, seed)
        count, batch = self.num_global + self.num_local, ops.shape(images)[0]
        embeddings = self.projector(self.encoder(views, training=training), training=training)
        embeddings = ops.reshape(ops.cast(embeddings, "float32"), (count, batch, embeddings.shape[-1]))
        center = ops.mean(embeddings[: self.num_global], axis=0)
        invariance = ops.mean(ops.square(embeddings - center), axis=(0, 2))
        directions = random.normal((embeddings.shape[-1], self.num_directions), seed=seed)
        statistic = ops.mean(sigreg(embeddings, directions))
        loss = (1 - self.weight) * invariance + self.weight * statistic
        return {"loss": loss, "invariance": invariance, "sigreg": statistic}

    def describe(self) -> list[str]:
        """Returns sentences for the report of a run."""
        return [
            f"LeJEPA compares {self.num_global} views of {self.global_options.scale[0]:.0%} to {self.global_options.scale[1]:.0%} of an "
            f"image and {self.num_local} of {self.local_options.scale[0]:.0%} to {self.local_options.scale[1]:.0%}; SIGReg has the "
            f"weight {self.weight:g}.",
            "SIGReg is about 1 where the embeddings are as spread as a Gaussian; invariance falls while views of one image become more "
            "similar.",
        ]

    def pictures(self, images: Any) -> Mapping[str, np.ndarray]:
        """Returns views of images."""
        views = ops.convert_to_numpy(self._draw(ops.convert_to_tensor(images), _TEST_SEED))
        views = views.reshape(-1, len(images), *views.shape[1:]).clip(0, 255).round().astype("uint8")
        names = [f"global view {index + 1}" for index in range(self.num_global)]
        names += [f"local view {index + 1}" for index in range(self.num_local)]
        return {"image": np.asarray(images), **dict(zip(names, views, strict=True))}

    def _draw(self, images: Tensor, seed: Any) -> Tensor:
        """Returns `(views * batch, height, width, channels)`, view by view; an integer seed gives each view another one."""
        options = [self.global_options] * self.num_global + [self.local_options] * self.num_local
        seeds = [seed + index if isinstance(seed, int) else seed for index in range(len(options))]
        return ops.concatenate([draw_views(images, each, seed=one) for each, one in zip(options, seeds, strict=True)])


def _make_projector(dim: int, dims: tuple[int, ...], seed: int) -> keras.Sequential:
    """Returns an MLP with batch norm and ReLU behind each layer but the last, built, as the paper's."""
    layers: list[keras.layers.Layer] = [keras.Input((dim,))]
    for index, width in enumerate(dims):
        initializer = keras.initializers.GlorotUniform(seed=seed + index)
        layers.append(keras.layers.Dense(width, kernel_initializer=initializer, name=f"dense_{index}"))
        if index < len(dims) - 1:
            # PyTorch's momentum and epsilon.
            layers.append(keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"norm_{index}"))
            layers.append(keras.layers.Activation("relu", name=f"relu_{index}"))
    return keras.Sequential(layers, name="projector")
