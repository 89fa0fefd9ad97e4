"""Masked autoencoder (MAE): learns to predict the masked patches of images."""

from collections.abc import Iterable, Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from vit_keras.distributed.replicas import draw_rows
from vit_keras.errors import InvalidArgumentError
from vit_keras.layers import Patches, PixelNormalization
from vit_keras.layers.base.checks import Tensor
from vit_keras.models.batch_parts import run_in_parts
from vit_keras.models.wiring import read_model
from vit_keras.pretraining.base.objective import PretrainingModel
from vit_keras.pretraining.mae.decoder import MaskedPatchDecoder
from vit_keras.pretraining.mae.decoder_size import choose_decoder_size
from vit_keras.pretraining.mae.masking import Masking, count_visible, shuffle
from vit_keras.pretraining.mae.pictures import draw_reconstructions
from vit_keras.pretraining.mae.stem_statistics import fit_stem_statistics
from vit_keras.pretraining.mae.targets import masked_error, patch_statistics
from vit_keras.pretraining.mae.visible import VisibleEncoder, check_maskable


@keras.saving.register_keras_serializable(package="vit_keras")
class MaskedAutoencoder(PretrainingModel):
    """Masks most patches of each image, encodes the others, and learns to predict the masked pixels.

    Paper: He et al. 2022, arXiv 2111.06377. Afterwards use `encoder`. The class token's position and, for prefix tokens, their own learned
    positions are kept; pooling is not trained. On a convolutional stem, masked pixels are replaced by the mean pixel before the stem, so that
    none reaches a visible token; `finish` fits its batch norms to whole images.

    Args:
        encoder: A vit_keras model with absolute positions. Without a head it is trained in place; of one with a head, a copy without it.
        mask_ratio: Fraction of the patches that are masked.
        decoder_dim: Width of the decoder; None to choose by the encoder's.
        decoder_layers: Blocks of the decoder; None to choose.
        decoder_heads: Attention heads of the decoder; None to choose.
        norm_targets: Normalizes the pixels of each patch before they are compared, which gives better features.
        seed: Of the masks.

    Shapes:
        images: `(batch, height, width, channels)`, pixels 0..255.
        noise: `(batch, patches)`; patches with the least noise are visible. None for random noise.
        returns: "loss", `(batch,)`: the mean squared error over each image's masked patches.

    Raises:
        InvalidArgumentError: The encoder can't run on some of its patches, all its weights are frozen, or `mask_ratio` masks none or all.

    Example:
        >>> from vit_keras import from_preset
        >>> model = MaskedAutoencoder(from_preset("test_vit"))
        >>> model.compile(keras.optimizers.AdamW(1.5e-4, beta_2=0.95))  # model.fit(images) trains it
        >>> model(ops.zeros((8, *model.encoder.input_shape[1:])))["loss"].shape == (8,)
        True
    """

    def __init__(
        self,
        encoder: keras.Model,
        *,
        mask_ratio: float = 0.75,
        decoder_dim: int | None = None,
        decoder_layers: int | None = None,
        decoder_heads: int | None = None,
        norm_targets: bool = True,
        seed: int = 0,
        name: str = "masked_autoencoder",
        **kwargs: Any,
    ) -> None:
        parts = read_model(encoder)
        check_maskable(parts.config)
        num_visible = count_visible(parts.config.num_patches, mask_ratio)
        size = choose_decoder_size(
            parts.config.hidden_dim, dim=decoder_dim, num_layers=decoder_layers, num_heads=decoder_heads
        )
        super().__init__(encoder, untrained=VisibleEncoder(parts).untrained, name=name, **kwargs)
        self.visible_encoder = VisibleEncoder(read_model(self.encoder))
        self.config = config = self.visible_encoder.parts.config
        self.mask_ratio = float(mask_ratio)
        self.num_visible = num_visible
        self.norm_targets = bool(norm_targets)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        # Targets are computed in float32 whatever the encoder's precision.
        self.pixel_normalization = PixelNormalization(config.pixel_mean, config.pixel_std, dtype="float32")
        self.cut = Patches(config.patch_size, partial_patches=config.partial_patches, dtype="float32")
        self.decoder = MaskedPatchDecoder(
            size.dim, num_layers=size.num_layers, num_heads=size.num_heads, patch_dim=config.channels * config.patch_size**2,
            grid_size=config.grid_size, num_prefix_tokens=config.num_prefix_tokens, activation=config.activation,
            qkv_bias="none" if config.qkv_bias == "none" else "all", norm_epsilon=config.norm_epsilon, remat=config.remat,
            dtype=self.visible_encoder.parts.layers["patch_encoder"].dtype_policy, name="decoder",
        )  # fmt: skip
        for layer in (self.pixel_normalization, self.cut):
            layer.build((None, *config.image_shape))
        self.decoder.build((None, config.num_prefix_tokens + num_visible, config.hidden_dim))

    def call(self, images: Tensor, training: bool | None = None, noise: Tensor | None = None) -> dict[str, Tensor]:
        """Returns the loss of each image."""
        predictions, patches, masking = self._predict(images, noise, training)
        return {"loss": self._compute_errors(predictions, patches, masking)}

    def draw_masking(self, images: Tensor, training: bool | None = None) -> Masking:
        """Returns which patches of each image are visible: others in every training step, the same in every other call."""
        seed = self.seed_generator if training else self.seed
        noise = draw_rows(
            lambda rows: keras.random.uniform((rows, self.config.num_patches), seed=seed), ops.shape(images)[0]
        )
        return shuffle(noise, self.num_visible)

    def reconstruct(self, images: Tensor, noise: Tensor | None = None) -> dict[str, Tensor]:
        """Returns the loss of each image, the predictions of all its patches, and which of them were masked (1), all in float32.

        Predictions are of normalized pixels, and with `norm_targets` of pixels normalized per patch.
        """
        predictions, patches, masking = self._predict(images, noise, training=False)
        loss = self._compute_errors(predictions, patches, masking)
        return {"loss": loss, "predictions": predictions, "mask": masking.mask}

    def finish(self, images: Iterable[Any]) -> None:
        """Fits the batch norms of a convolutional stem to whole images; of a patch stem nothing has to be done.

        Args:
            images: Batches as `fit` takes them, which can be iterated several times, such as a `tf.data.Dataset` or a list.
        """
        stem = self.visible_encoder.parts.layers.get("conv_stem")
        if stem is not None:
            fit_stem_statistics(stem, images, self._normalize_batch)

    def describe(self) -> list[str]:
        """Returns sentences for the report of a run."""
        masked, decoder = self.config.num_patches - self.num_visible, self.decoder
        blocks = f"{decoder.num_layers} block{'s' if decoder.num_layers > 1 else ''}"
        pixels = "pixels, normalized per patch" if self.norm_targets else "pixels"
        return [
            f"Masked autoencoder (He et al. 2022): {masked} of {self.config.num_patches} patches of each image are masked at random; the encoder "
            f"sees the other {self.num_visible}.",
            f"A decoder of {blocks}, {decoder.dim} wide, predicts the {pixels}; the loss is the mean squared error of the masked patches. The "
            "decoder is not part of the saved model.",
        ]

    def pictures(self, images: Any) -> Mapping[str, np.ndarray]:
        """Returns, by caption, the images, what the encoder sees, that with the masked patches predicted, and the masked patches themselves.

        The same patches are masked in every call.
        """
        found = {name: ops.convert_to_numpy(each) for name, each in self.reconstruct(images).items()}
        return draw_reconstructions(
            ops.convert_to_numpy(images),
            found["predictions"],
            found["mask"],
            config=self.config,
            norm_targets=self.norm_targets,
        )

    def _normalize_batch(self, batch: Any) -> Tensor:
        images = batch[0] if isinstance(batch, tuple | list) else batch
        self._check_shape(images)
        return self.pixel_normalization(images)

    def _predict(self, images: Tensor, noise: Tensor | None, training: bool | None) -> tuple[Tensor, Tensor, Masking]:
        self._check_shape(images)
        pixels = self.pixel_normalization(images)
        patches = self.cut(pixels)
        masking = self.draw_masking(images, training) if noise is None else shuffle(noise, self.num_visible)
        embedded = self.visible_encoder.run_stem(pixels, patches, masking, training)

        def predict(embedded: Tensor, visible: Tensor, restore: Tensor) -> Tensor:
            tokens = self.visible_encoder.encode(embedded, visible, training)
            return self.decoder(tokens, restore, training=training)

        predictions = run_in_parts(predict, embedded, masking.visible, masking.restore)
        return ops.cast(predictions, "float32"), patches, masking

    def _compute_errors(self, predictions: Tensor, patches: Tensor, masking: Masking) -> Tensor:
        targets = patches
        if self.norm_targets:
            mean, deviation = patch_statistics(patches)
            targets = (patches - mean) / deviation
        return masked_error(predictions, targets, masking.mask)

    def _check_shape(self, images: Tensor) -> None:
        found, wanted = tuple(images.shape), self.config.image_shape
        matches = len(found) == 4 and all(a in (None, b) for a, b in zip(found[1:], wanted, strict=True))
        if not matches:
            raise InvalidArgumentError(
                f"The images are {found}, and the encoder takes (batch, height, width, channels) with {wanted}. Resize them, for "
                "example with vk.data.preprocess_images, or rebuild the encoder: vk.rebuild(encoder, image_size=...)."
            )

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments, with the encoder serialized."""
        return {
            **super().get_config(),
            "encoder": keras.saving.serialize_keras_object(self.encoder),
            "mask_ratio": self.mask_ratio,
            "decoder_dim": self.decoder.dim,
            "decoder_layers": self.decoder.num_layers,
            "decoder_heads": self.decoder.num_heads,
            "norm_targets": self.norm_targets,
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: Any = None) -> "MaskedAutoencoder":
        """Returns the model that `get_config` describes."""
        encoder = keras.saving.deserialize_keras_object(config["encoder"], custom_objects=custom_objects)
        return cls(**{**config, "encoder": encoder})
