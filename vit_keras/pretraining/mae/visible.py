"""Runs an encoder on the visible patches alone, with its own layers: what makes masked autoencoders fast."""

from collections.abc import Iterator
from dataclasses import dataclass

from keras import ops

from vit_keras.config import ViTConfig
from vit_keras.errors import InvalidArgumentError
from vit_keras.layers.base.checks import Tensor
from vit_keras.models.wiring import ModelParts
from vit_keras.pretraining.mae.masking import Masking, take_tokens

UNTRAINED = ("pooling", "pre_logits")
"""Names of layers that pool tokens to features, which masked autoencoders do not use."""


@dataclass(frozen=True, eq=False)
class VisibleEncoder:
    """The layers of an encoder, run on the visible patches."""

    parts: ModelParts

    @property
    def has_norm(self) -> bool:
        """Whether the final norm is of tokens, or can be: of pooled tokens it may be of another width."""
        config = self.parts.config
        return "final_norm" in self.parts.layers and (
            config.final_norm == "before" or config.pooled_dim == config.hidden_dim
        )

    @property
    def untrained(self) -> tuple[str, ...]:
        """Names of the layers that are not run."""
        return UNTRAINED if self.has_norm else (*UNTRAINED, "final_norm")

    def run_stem(self, pixels: Tensor, patches: Tensor, masking: Masking, training: bool | None = None) -> Tensor:
        """Returns the patches as the patch encoder takes them.

        Shapes:
            pixels: `(batch, height, width, channels)`, normalized.
            patches: `(batch, patches, patch_dim)`, the same pixels.
            returns: `(batch, patches, patch_dim)`, of a convolutional stem `(batch, patches, hidden_dim)`.
        """
        stem = self.parts.layers.get("conv_stem")
        if stem is None:
            return patches
        # Windows of the convolutions overlap, so masked pixels are replaced by the mean pixel before them.
        return stem(self._hide(pixels, masking.mask), training=training)

    def encode(self, patches: Tensor, visible: Tensor, training: bool | None = None) -> Tensor:
        """Returns the tokens of prefix and visible patches after the last block, normalized.

        Shapes:
            patches: What `run_stem` returns.
            visible: `(batch, visible)`, numbers of the visible patches.
            returns: `(batch, prefix + visible, hidden_dim)`.
        """
        layers = self.parts.layers
        tokens = layers["patch_encoder"](take_tokens(patches, visible), visible=visible, training=training)
        if "stem_norm" in layers:
            tokens = layers["stem_norm"](tokens, training=training)
        for block in self.parts.blocks:
            tokens = block(tokens, training=training)
        return layers["final_norm"](tokens, training=training) if self.has_norm else tokens

    def _hide(self, pixels: Tensor, mask: Tensor) -> Tensor:
        """Returns images whose masked patches are zero: the mean pixel."""
        config = self.parts.config
        (rows, columns), size = config.grid_size, config.patch_size
        cells = ops.reshape(pixels, (-1, rows, size, columns, size, config.channels))
        hidden = ops.reshape(mask, (-1, rows, 1, columns, 1, 1)) > 0
        return ops.reshape(ops.where(hidden, 0.0, cells), (-1, *config.image_shape))


def check_maskable(config: ViTConfig) -> None:
    """Raises `InvalidArgumentError`, with all reasons, for an encoder that can't run on some of its patches."""
    problems = list(_find_problems(config))
    if problems:
        raise InvalidArgumentError(
            f"A masked autoencoder runs the encoder on the visible patches alone, and this one can't: {'; '.join(problems)}. Choose "
            "another encoder, such as vit_small_patch16_224, or another method."
        )


def _find_problems(config: ViTConfig) -> Iterator[str]:
    if config.max_num_patches is not None:
        yield f"max_num_patches={config.max_num_patches} packs images of any aspect ratio, whose padding would be masked, too"
    if config.dynamic_image_size:
        yield "dynamic_image_size=True has no fixed grid of patches (vk.rebuild(model, dynamic_image_size=False) has one)"
    if config.relative_position != "none":
        yield f'relative_position="{config.relative_position}" is a bias between the patches of a whole grid'
    if config.rotary_embedding != "none":
        yield f'rotary_embedding="{config.rotary_embedding}" rotates by the positions of a whole grid'
    if config.position_embedding == "none" and config.rotary_embedding == "none" and config.relative_position == "none":
        yield 'position_embedding="none" does not tell the encoder which patches are visible'
