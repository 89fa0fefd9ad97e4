"""`ViTConfig`: the architecture of a Vision Transformer, checked; no Keras."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeVar, get_args, get_origin, get_type_hints, overload

from vit_keras import costs
from vit_keras.conflicts import LARGEST_PATCH, LARGEST_SIDE, find_conflicts
from vit_keras.errors import InvalidArgumentError
from vit_keras.packed_sizes import packed_shape
from vit_keras.synonyms import FIELD_SYNONYMS, VALUE_SYNONYMS
from vit_keras.validation import FrozenConfig, closest, is_number, list_words

Stem = Literal["patch", "conv"]
PositionEmbedding = Literal["learned", "sincos2d", "sincos2d_mae", "none"]
PositionResize = Literal[
    "bicubic_antialias", "bicubic", "bicubic_offset", "bilinear", "bilinear_antialias", "bilinear_corners", "bilinear_crop",
    "bilinear_corners_crop", "bicubic_antialias_crop",
]  # fmt: skip
PatchResize = Literal["bicubic_antialias", "bilinear"]
RotaryEmbedding = Literal["none", "axial", "mixed", "centered"]
RotaryOrder = Literal["yx", "xy"]
QKVBias = Literal["all", "query_value", "none"]
RelativePosition = Literal["none", "table", "mlp"]
Norm = Literal["layer", "rms"]
BlockNorm = Literal["before", "after"]
Pooling = Literal["token", "mean", "token_and_mean", "map"]
FinalNorm = Literal["before", "after", "none"]
Activation = Literal["gelu", "gelu_tanh", "quick_gelu", "silu"]
PartialPatches = Literal["refuse", "crop"]
Remat = Literal["none", "block"]

# Far above every published ViT: an untrusted config can't ask for more memory than a ViT needs.
_INTEGERS = {
    "patch_size": (1, LARGEST_PATCH),
    "channels": (1, 1024),
    "hidden_dim": (1, 16_384),
    "num_layers": (1, 512),
    "num_heads": (1, 512),
    "mlp_dim": (1, 131_072),
    "num_registers": (0, 256),
    "pre_logits_dim": (1, 16_384),
    "num_map_heads": (1, 512),
    "map_mlp_dim": (1, 131_072),
    "relative_position_dim": (1, 16_384),
    "max_num_patches": (1, 16_384),
}
_OPTIONAL = ("pre_logits_dim", "num_map_heads", "map_mlp_dim", "max_num_patches")  # integers that may be None
_Class = TypeVar("_Class")  # so that type checkers see the fields of the class, not `type`
_OF_MAP = {"map_includes_prefix": True, "num_map_heads": None, "map_mlp_dim": None}  # values without attention pooling


if TYPE_CHECKING:

    class _Sides:
        """What type checkers know of `image_size`: one number is taken, too, and a pair is returned."""

        @overload
        def __get__(self, config: None, owner: Any) -> "_Sides": ...
        @overload
        def __get__(self, config: object, owner: Any) -> tuple[int, int]: ...
        def __get__(self, config: Any, owner: Any) -> Any: ...
        def __set__(self, config: object, value: int | tuple[int, int]) -> None: ...


def _refuses_unknown_fields(cls: type[_Class]) -> type[_Class]:
    """Makes the constructor report unknown and missing fields as `FrozenConfig.check_fields` does."""
    changed: Any = cls
    init = changed.__init__

    @functools.wraps(init)
    def checked_init(self: object, **values: Any) -> None:
        ViTConfig.check_fields(values)
        init(self, **values)

    changed.__init__ = checked_init
    return cls


@_refuses_unknown_fields
@dataclass(frozen=True, kw_only=True)
class ViTConfig(FrozenConfig):
    """The architecture of a Vision Transformer.

    Args:
        image_size: Height and width, px; one number makes a square.
        patch_size: Side of a patch, px.
        partial_patches: Images whose sides are no multiple of `patch_size`: "refuse" them (a `dynamic_image_size` pads them), or
            "crop" the pixels at the bottom and right that fill no patch, as the convolutions of timm and transformers do.
        dynamic_image_size: Takes images of any height and width: they are padded at the bottom and right to a multiple of `patch_size`,
            and positions are resized inside the model from those of `image_size`, which counts whole patches.
        max_num_patches: Takes images of any aspect ratio in one batch (NaFlex: Tschannen et al. 2025, arXiv 2502.14786): each is resized,
            keeping its aspect ratio, to at most this many patches, and packed (`vit_keras.packing`); positions are resized per image
            from those of `image_size`. None for images of `image_size`.
        hidden_dim: Width of a token.
        num_layers: Transformer blocks.
        num_heads: Attention heads; they divide `hidden_dim`.
        mlp_dim: Hidden width of the MLP.
        channels: Channels of an image.
        pixel_mean: Subtracted from pixels / 255; one fraction, or one per channel.
        pixel_std: Divides the result; one fraction, or one per channel.
        stem: "patch" cuts the image as the paper does; "conv" uses strided convolutions (Xiao et al. 2021, arXiv 2106.14881).
        patch_bias: Adds a bias to the projection of the patches.
        class_token: Prepends a learned class token.
        distillation_token: Adds a distillation token after it (Touvron et al. 2021, arXiv 2012.12877).
        distillation_head: Gives the distillation token its own head; the output is the mean of both. False leaves the other head.
        num_registers: Register tokens after those, which no head reads (Darcet et al. 2024, arXiv 2309.16588).
        position_embedding: "learned" as in the paper, "sincos2d" fixed (Beyer et al. 2022, arXiv 2205.01580), "sincos2d_mae"
            fixed with the frequencies of MAE and of AIMv2 for any image size (He et al. 2021, arXiv 2111.06377), or "none".
        position_on_prefix: Whether prefix tokens have learned positions too.
        position_resize: How learned positions are resized to another image size: "bicubic_antialias" as in timm, "bicubic" as
            in transformers, "bicubic_offset" as in DINO and DINOv2, "bilinear", "bilinear_antialias" as in big_vision's
            FlexiViT, "bilinear_corners" as in Google's vision_transformer; "bilinear_crop", "bilinear_corners_crop" and
            "bicubic_antialias_crop" resize to a square of the longer side and take its top left part, as in RADIO.
        patch_resize: How another patch size resizes the projection: pseudo-inverse of this (Beyer et al. 2023, arXiv 2212.08013).
        rotary_embedding: Rotation of queries and keys by the patches' positions: "axial" (Fang et al. 2023, arXiv 2303.11331),
            "mixed" with learned frequencies (Heo et al. 2024, arXiv 2403.13298), "centered" (DINOv3, Simeoni et al. 2025,
            arXiv 2508.10104), or "none".
        rotary_temperature: Base of the frequencies, about the ratio of the highest to the lowest.
        rotary_order: "yx" gives the first half of the frequencies to the rows, "xy" to the columns.
        rotary_reference: Rows and columns that positions are scaled to at every image size; None for the image's own.
        rotary_offset: Added to the rows and columns of "axial" positions, in patches, before they are scaled.
        relative_position: A bias of the attention scores by the offset between two patches: "table" with one number per head and offset
            (Bao et al. 2022, arXiv 2106.08254), "mlp" with a small network of the offsets' logarithms (Liu et al. 2022, arXiv
            2111.09883, as in timm), or "none".
        relative_position_shared: Whether all blocks have the same bias.
        relative_position_dim: Hidden width of the network of `relative_position="mlp"`.
        patch_norm: Normalizes the projected patches before positions are added, as in AIMv2 (Fini et al. 2024, arXiv 2411.14402).
        stem_norm: Normalizes the tokens before the first block, as in CLIP.
        qkv_bias: Which of queries, keys and values have a bias: "all", "query_value" or "none".
        qk_norm: Normalizes queries and keys in each head (Dehghani et al. 2023, arXiv 2302.05442).
        attention_inner_norm: Normalizes the joined heads before the attention's output projection (Wang et al. 2022, arXiv 2208.10442).
        differential_attention: Subtracts a second attention map from that of each head (Ye et al. 2024, arXiv 2410.05258); in a
            parallel block, one bias serves the output projections of both branches.
        projection_bias: Whether the attention's output projection and both projections of the MLP have biases.
        block_norm: Normalizes the input of attention and MLP, "before" as in the paper, or their output, "after" (Liu et al. 2022,
            arXiv 2111.09883).
        parallel_block: Computes attention and MLP side by side (Dehghani et al. 2023, arXiv 2302.05442).
        gated_mlp: Multiplies activated gates with values in the MLP (Shazeer 2020, arXiv 2002.05202).
        mlp_inner_norm: Normalizes the MLP's hidden activations (Fang et al. 2023, arXiv 2303.11331).
        pre_logits_dim: Width of a tanh layer between pooling and head, or None.
        pooling: Input of the head: the class "token", the "mean" of the patch tokens, "token_and_mean" concatenated, or "map",
            attention pooling with one learned query (Zhai et al. 2022, arXiv 2106.04560).
        map_includes_prefix: Whether attention pooling attends to prefix tokens; "mean" never includes them.
        num_map_heads: Attention heads of attention pooling; None for as many as in the blocks.
        map_mlp_dim: Hidden width of the MLP in attention pooling; None for that of the blocks.
        final_norm: Normalizes "before" pooling, as in the paper, or "after", or "none".
        norm: Kind of every norm: "layer", or "rms" without mean and bias (Zhang and Sennrich 2019, arXiv 1910.07467).
        norm_epsilon: Added to the variance in every norm.
        activation: "gelu" (exact), "gelu_tanh" (tanh approximation), "quick_gelu" (sigmoid approximation) or "silu".
        layer_scale: Initial value of the residual branches' scales (Touvron et al. 2021, arXiv 2103.17239), or None; with
            `block_norm="after"`, of the scales in the blocks' norms.
        dropout_rate: Fraction of the embeddings and of each MLP's hidden activations dropped in training.
        attention_dropout_rate: Fraction of the attention weights dropped in training.
        stochastic_depth_rate: Fraction of images that skip the last block's branches; it rises linearly from 0 at the first
            block (Huang et al. 2016, arXiv 1603.09382).
        remat: "block" recomputes each block's activations in the backward pass instead of keeping them.

    Raises:
        InvalidArgumentError: A field is unknown, missing or not legal; one message lists all problems.

    Example:
        >>> config = ViTConfig(image_size=224, patch_size=16, hidden_dim=768, num_layers=12, num_heads=12, mlp_dim=3072)
        >>> config.num_tokens, config.num_params
        (197, 85798656)
    """

    _synonyms: ClassVar = FIELD_SYNONYMS

    if TYPE_CHECKING:
        image_size: _Sides = _Sides()
    else:
        image_size: tuple[int, int]
    patch_size: int
    hidden_dim: int
    num_layers: int
    num_heads: int
    mlp_dim: int
    channels: int = 3
    partial_patches: PartialPatches = "refuse"
    dynamic_image_size: bool = False
    max_num_patches: int | None = None
    pixel_mean: tuple[float, ...] = (0.5,)
    pixel_std: tuple[float, ...] = (0.5,)
    stem: Stem = "patch"
    patch_bias: bool = True
    class_token: bool = True
    distillation_token: bool = False
    distillation_head: bool = True
    num_registers: int = 0
    position_embedding: PositionEmbedding = "learned"
    position_on_prefix: bool = True
    position_resize: PositionResize = "bicubic_antialias"
    patch_resize: PatchResize = "bicubic_antialias"
    rotary_embedding: RotaryEmbedding = "none"
    rotary_temperature: float = 100.0
    rotary_order: RotaryOrder = "yx"
    rotary_reference: tuple[int, int] | None = None
    rotary_offset: float = 0.0
    relative_position: RelativePosition = "none"
    relative_position_shared: bool = False
    relative_position_dim: int = 128
    patch_norm: bool = False
    stem_norm: bool = False
    qkv_bias: QKVBias = "all"
    qk_norm: bool = False
    attention_inner_norm: bool = False
    differential_attention: bool = False
    projection_bias: bool = True
    block_norm: BlockNorm = "before"
    parallel_block: bool = False
    gated_mlp: bool = False
    mlp_inner_norm: bool = False
    pre_logits_dim: int | None = None
    pooling: Pooling = "token"
    map_includes_prefix: bool = True
    num_map_heads: int | None = None
    map_mlp_dim: int | None = None
    final_norm: FinalNorm = "before"
    norm: Norm = "layer"
    norm_epsilon: float = 1e-6
    activation: Activation = "gelu"
    layer_scale: float | None = None
    dropout_rate: float = 0.0
    attention_dropout_rate: float = 0.0
    stochastic_depth_rate: float = 0.0
    remat: Remat = "none"

    def __post_init__(self) -> None:
        for name in ("image_size", "rotary_reference", "pixel_mean", "pixel_std"):
            value = getattr(self, name)
            if isinstance(value, int | float) and not isinstance(value, bool):
                value = (value,) if name.startswith("pixel") else (value, value)
            if isinstance(value, list):
                value = tuple(value)
            object.__setattr__(self, name, value)  # as dataclasses do in frozen classes
        problems = list(self._find_wrong_types()) or list(find_conflicts(self))
        if problems:
            raise InvalidArgumentError("ViTConfig: " + "; ".join(problems) + ".")
        if self.dynamic_image_size:  # only its positions are of this size
            object.__setattr__(self, "image_size", tuple(count * self.patch_size for count in self.grid_size))
        for name, of_blocks in (("num_map_heads", self.num_heads), ("map_mlp_dim", self.mlp_dim)):
            if getattr(self, name) == of_blocks:
                object.__setattr__(self, name, None)

    def replace(self, **changes: Any) -> Self:
        """Returns a copy with these fields changed; another `pooling` than "map" resets the fields of attention pooling.

        Raises `InvalidArgumentError` for an unknown field or an illegal value.
        """
        if changes.get("pooling", "map") != "map":
            changes = {**_OF_MAP, **changes}
        return super().replace(**changes)

    def _find_wrong_types(self) -> Iterator[str]:
        for name in _BOOLEANS:
            if type(value := getattr(self, name)) is not bool:
                yield f"{name}={value!r} is not True or False"
        for name, choices in _CHOICES.items():
            if (value := getattr(self, name)) not in choices:
                synonym = VALUE_SYNONYMS.get(name, {}).get(str(value))
                close = [synonym] if synonym else closest(str(value), choices, count=1)
                hint = f" (did you mean {close[0]!r}?)" if close else ""
                yield f"{name}={value!r} is none of {list_words(choices)}{hint}"
        for name, (low, high) in _INTEGERS.items():
            value = getattr(self, name)
            is_optional = name in _OPTIONAL
            if (value is not None or not is_optional) and (type(value) is not int or not low <= value <= high):
                yield f"{name}={value!r} is {'neither None nor' if is_optional else 'not'} an integer from {low} to {high}"
        if not _is_pair(self.image_size):
            yield f"image_size={self.image_size!r} is not (height, width) in px"
        elif max(self.image_size) > LARGEST_SIDE:
            yield f"image_size={self.image_size!r} is over {LARGEST_SIDE} px"
        if self.rotary_reference is not None and not _is_pair(self.rotary_reference):
            yield f"rotary_reference={self.rotary_reference!r} is neither None nor (rows, columns)"
        for name in ("pixel_mean", "pixel_std"):
            values = getattr(self, name)
            if not isinstance(values, tuple) or not values or not all(map(is_number, values)):
                yield f"{name}={values!r} is not one fraction or one per channel"
        for name in ("dropout_rate", "attention_dropout_rate", "stochastic_depth_rate"):
            value = getattr(self, name)
            if not is_number(value) or not 0 <= value < 1:
                yield f"{name}={value!r} is not a fraction in [0, 1)"
        if not is_number(self.rotary_offset) or not 0 <= self.rotary_offset <= LARGEST_SIDE:
            yield f"rotary_offset={self.rotary_offset!r} is not a number of patches from 0 to {LARGEST_SIDE}"
        if not is_number(self.rotary_temperature) or not 1 <= self.rotary_temperature <= 1e9:
            yield f"rotary_temperature={self.rotary_temperature!r} is not in [1, 1e9]"
        if not is_number(self.norm_epsilon) or not 0 < self.norm_epsilon <= 0.1:
            yield f"norm_epsilon={self.norm_epsilon!r} is not in (0, 0.1]"
        if self.layer_scale is not None and (not is_number(self.layer_scale) or not 0 < self.layer_scale <= 100):
            yield f"layer_scale={self.layer_scale!r} is neither None nor in (0, 100]"

    @property
    def grid_size(self) -> tuple[int, int]:
        """Rows and columns of patches of `image_size`."""
        height, width = self.image_size
        return height // self.patch_size, width // self.patch_size

    @property
    def num_positions(self) -> int:
        """Positions of patches: those of `image_size`."""
        rows, columns = self.grid_size
        return rows * columns

    @property
    def num_patches(self) -> int:
        """Patches per image; with `max_num_patches`, padding included."""
        return self.max_num_patches or self.num_positions

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape of an image as the model takes it: height, width (px) and channels; with `max_num_patches`, packed."""
        if self.max_num_patches is None:
            return (*self.image_size, self.channels)
        return packed_shape(self.max_num_patches, self.patch_size, self.channels)

    @property
    def num_prefix_tokens(self) -> int:
        """Class, distillation and register tokens per image."""
        return self.class_token + self.distillation_token + self.num_registers

    @property
    def has_two_heads(self) -> bool:
        """Whether the output is the mean of a head on the class token and one on the distillation token."""
        return self.distillation_token and self.distillation_head

    @property
    def num_tokens(self) -> int:
        """Prefix tokens and patches per image."""
        return self.num_patches + self.num_prefix_tokens

    @property
    def feature_dim(self) -> int:
        """Width of the head's input."""
        return self.pre_logits_dim or self.pooled_dim

    @property
    def pooled_dim(self) -> int:
        """Width of the pooled tokens."""
        return self.hidden_dim * (2 if self.pooling == "token_and_mean" else 1)

    @property
    def patch_dim(self) -> int:
        """Width of a patch before its projection."""
        return self.hidden_dim if self.stem == "conv" else self.channels * self.patch_size**2

    @property
    def num_params(self) -> int:
        """Trainable parameters without a head."""
        return costs.num_params(self)

    @property
    def num_macs(self) -> int:
        """Multiply-adds per image of the forward pass without a head, in matrix products and convolutions."""
        return costs.num_macs(self)

    def activation_bytes(self, bytes_per_number: int = 4) -> int:
        """Returns the bytes per image that training keeps for the backward pass.

        Args:
            bytes_per_number: 4 for float32, 2 for bfloat16 and float16.
        """
        return costs.num_activations(self) * bytes_per_number


_TYPE_HINTS = get_type_hints(ViTConfig)
_BOOLEANS = [name for name, hint in _TYPE_HINTS.items() if hint is bool]
_CHOICES = {name: get_args(hint) for name, hint in _TYPE_HINTS.items() if get_origin(hint) is Literal}


def _is_pair(value: object) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and all(type(each) is int and each > 0 for each in value)
