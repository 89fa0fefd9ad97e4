"""One block of the encoder: attention, then MLP, each with a residual connection."""

from collections.abc import Callable
from typing import Any, ClassVar

import keras

from vit_keras.errors import InvalidArgumentError
from vit_keras.layers.base.checks import Shape, Tensor, check_choice, check_positive, check_tokens
from vit_keras.layers.base.composite_layer import CompositeLayer
from vit_keras.layers.differential_attention import DifferentialAttention
from vit_keras.layers.layer_norm import NORMS
from vit_keras.layers.layer_scale import LayerScale
from vit_keras.layers.mlp import MLP
from vit_keras.layers.self_attention import SelfAttention
from vit_keras.layers.stochastic_depth import StochasticDepth

Branch = Callable[..., Tensor]
"""A function of tokens and `training`; for a branch with attention, of `patch_indices` and `attention_bias`, too."""


@keras.saving.register_keras_serializable(package="vit_keras")
class TransformerBlock(CompositeLayer):
    """Self-attention, then an MLP; each normalizes its input, or its output, and is added to it.

    Paper: Dosovitskiy et al. 2021, arXiv 2010.11929, section 3.1, equations 2 and 3. Our `attention` is their MSA.

    Args:
        num_heads: Attention heads; they divide the tokens' width.
        mlp_dim: Hidden width of the MLP.
        parallel: Returns a `ParallelBlock` instead, which computes attention and MLP side by side.
        activation: "gelu", "gelu_tanh", "quick_gelu" or "silu".
        gated_mlp: Multiplies the MLP's activated gates with values.
        mlp_inner_norm: Normalizes the MLP's hidden activations.
        qkv_bias: Which of queries, keys and values have a bias: "all", "query_value" or "none".
        qk_norm: Normalizes queries and keys in each head.
        attention_inner_norm: Normalizes the joined heads before the attention's output projection.
        rotary: Arguments of the `RotaryEmbedding` of queries and keys, or None.
        relative_position: Arguments of the block's own `RelativePositionBias`, but for `num_heads`; or None.
        differential_lambda: `lambda_init` of `DifferentialAttention`; None for softmax attention.
        projection_bias: Adds biases in the attention's output projection and in both of the MLP.
        norm: Kind of every norm: "layer" or "rms".
        block_norm: "before" normalizes the branches' inputs, as the paper does, "after" their outputs (Liu et al. 2022, arXiv
            2111.09883, section 3.2).
        norm_epsilon: Added to the variance in every norm.
        layer_scale: Initial value of the branches' scales, or None; with `block_norm="after"`, of the norms' own scales.
        dropout_rate: Fraction of the MLP's hidden activations dropped in training.
        attention_dropout_rate: Fraction of the attention weights dropped in training.
        stochastic_depth_rate: Fraction of the images that skip a branch in training.
        remat: "none", or "block" to recompute the branches in the backward pass instead of keeping their activations. Needs
            both dropout rates at 0, since the second computation would draw other masks.

    Shapes:
        tokens: `(batch, tokens, hidden_dim)`.
        patch_indices: `(tokens, 2)`, as `PatchIndices` returns them; for rotary embeddings of images of any size. Or of packed images,
            `(batch, tokens, 2)`, as `PackedIndices` returns them.
        attention_bias: `(num_heads, tokens, tokens)`, added to the attention scores, such as one that all blocks share.
        returns: The same as `tokens`.

    Example:
        >>> TransformerBlock(4, 256)(keras.Input((197, 64))).shape
        (None, 197, 64)
    """

    parallel: ClassVar[bool] = False
    parallel_class: ClassVar[type["TransformerBlock"]]  # set where `ParallelBlock` is defined

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """Chooses the class by `parallel`, for configs in `.keras` files, too."""
        if kwargs.get("parallel"):
            cls = vars(cls).get("parallel_class", cls)
        return super().__new__(cls, *args, **kwargs)

    def __init__(
        self,
        num_heads: int,
        mlp_dim: int,
        *,
        parallel: bool = False,
        activation: str = "gelu",
        gated_mlp: bool = False,
        mlp_inner_norm: bool = False,
        qkv_bias: str = "all",
        qk_norm: bool = False,
        attention_inner_norm: bool = False,
        rotary: dict[str, Any] | None = None,
        relative_position: dict[str, Any] | None = None,
        differential_lambda: float | None = None,
        projection_bias: bool = True,
        norm: str = "layer",
        block_norm: str = "before",
        norm_epsilon: float = 1e-6,
        layer_scale: float | None = None,
        dropout_rate: float = 0.0,
        attention_dropout_rate: float = 0.0,
        stochastic_depth_rate: float = 0.0,
        remat: str = "none",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_positive(type(self).__name__, num_heads=num_heads, mlp_dim=mlp_dim)
        check_choice(type(self).__name__, choices=("none", "block"), remat=remat)
        check_choice(type(self).__name__, choices=tuple(NORMS), norm=norm)
        norm_places = ("before",) if self.parallel or norm != "layer" else ("before", "after")
        check_choice(f"{type(self).__name__} with norm={norm!r}", choices=norm_places, block_norm=block_norm)
        if parallel and not self.parallel:
            raise InvalidArgumentError(
                f"{type(self).__name__} can't have parallel=True: derive it from ParallelBlock instead of TransformerBlock."
            )
        if remat == "block":
            rates = {"dropout_rate": dropout_rate, "attention_dropout_rate": attention_dropout_rate}
            check_choice('TransformerBlock with remat="block"', choices=(0,), **rates)
        self.num_heads = num_heads
        self.mlp_dim = mlp_dim
        self.activation = activation
        self.gated_mlp = gated_mlp
        self.mlp_inner_norm = mlp_inner_norm
        self.qkv_bias = qkv_bias
        self.qk_norm = qk_norm
        self.attention_inner_norm = attention_inner_norm
        self.rotary = rotary
        self.relative_position = relative_position
        self.differential_lambda = differential_lambda
        self.projection_bias = projection_bias
        self.norm = norm
        self.block_norm = block_norm
        self.norm_epsilon = norm_epsilon
        self.layer_scale = layer_scale
        self.dropout_rate = dropout_rate
        self.attention_dropout_rate = attention_dropout_rate
        self.stochastic_depth_rate = stochastic_depth_rate
        self.remat = remat
        self._make_parts()

    def call(
        self,
        tokens: Tensor,
        patch_indices: Tensor | None = None,
        attention_bias: Tensor | None = None,
        training: bool | None = None,
    ) -> Tensor:
        """Computes the paper's equations 2 and 3."""
        tokens = tokens + self._attend(tokens, training, patch_indices, attention_bias)
        return tokens + self._feed_forward(tokens, training)

    def _attention_branch(
        self, tokens: Tensor, training: bool | None, patch_indices: Tensor | None, attention_bias: Tensor | None
    ) -> Tensor:
        if self.block_norm == "after":
            attended = self.attention(tokens, patch_indices, attention_bias, training=training)
            return self.attention_norm(attended, training=training)
        normed = self.attention_norm(tokens, training=training)
        return self.attention(normed, patch_indices, attention_bias, training=training)

    def _mlp_branch(self, tokens: Tensor, training: bool | None) -> Tensor:
        if self.block_norm == "after":
            return self.mlp_norm(self.mlp(tokens, training=training), training=training)
        return self.mlp(self.mlp_norm(tokens, training=training), training=training)

    def _make_parts(self) -> None:
        # Attributes of layers are paths in `.keras` files, and their order is that of the weights: both have to stay.
        self.attention_norm = self._make_norm("attention_norm")
        self.attention = self._make_attention()
        self.mlp_norm = self._make_norm("mlp_norm")
        self.mlp = self._make_mlp()
        self.scales = [self._make_scale("attention_scale"), self._make_scale("mlp_scale")]
        self.depths = [self._make_depth("attention_depth"), self._make_depth("mlp_depth")]
        self._attend = self._make_branch(self._attention_branch, self.scales[0], self.depths[0])
        self._feed_forward = self._make_branch(self._mlp_branch, self.scales[1], self.depths[1])

    def _make_norm(self, name: str) -> keras.layers.Layer:
        initial: dict[str, Any] = {}
        if self.block_norm == "after" and self.layer_scale is not None:
            initial["gamma_initializer"] = keras.initializers.Constant(self.layer_scale)
        return NORMS[self.norm](epsilon=self.norm_epsilon, dtype=self.dtype_policy, name=name, **initial)

    def _make_attention(self) -> SelfAttention:
        kind: type[SelfAttention] = SelfAttention
        own: dict[str, Any] = {}
        if self.differential_lambda is not None:
            kind, own = DifferentialAttention, {"lambda_init": self.differential_lambda}
        attention = kind(
            self.num_heads, qkv_bias=self.qkv_bias, qk_norm=self.qk_norm, inner_norm=self.attention_inner_norm, norm=self.norm,
            norm_epsilon=self.norm_epsilon,
            output_bias=self.projection_bias, rotary=self.rotary, relative_position=self.relative_position,
            dropout_rate=self.attention_dropout_rate, dtype=self.dtype_policy, name="attention", **own,
        )  # fmt: skip
        attention.is_recomputed = self.remat == "block"
        return attention

    def _make_mlp(self, *, output_bias: bool = True) -> MLP:
        return MLP(
            self.mlp_dim, activation=self.activation, gated=self.gated_mlp, inner_norm=self.mlp_inner_norm, norm=self.norm,
            norm_epsilon=self.norm_epsilon, use_bias=self.projection_bias, output_bias=output_bias, dropout_rate=self.dropout_rate,
            dtype=self.dtype_policy, name="mlp",
        )  # fmt: skip

    def _make_scale(self, name: str) -> keras.layers.Layer:
        if self.layer_scale is None or self.block_norm == "after":
            return keras.layers.Identity(dtype=self.dtype_policy)
        return LayerScale(self.layer_scale, dtype=self.dtype_policy, name=name)

    def _make_depth(self, name: str) -> StochasticDepth:
        return StochasticDepth(self.stochastic_depth_rate, dtype=self.dtype_policy, name=name)

    def _make_branch(self, compute: Branch, scale: keras.layers.Layer, depth: StochasticDepth) -> Branch:
        """Returns the branch with layer scale, rematerialization and stochastic depth."""

        def branch(tokens: Tensor, training: bool | None, *more: Any) -> Tensor:
            def scaled(tokens: Tensor) -> Tensor:
                return scale(compute(tokens, training, *more))

            # Stochastic depth stays outside: computed again, it would drop other images.
            run = _recompute(scaled) if training and self.remat == "block" else scaled
            return depth(run(tokens), training=training)

        return branch

    def build_parts(self, input_shape: Shape) -> None:
        """Builds every part for tokens of this shape."""
        check_tokens(type(self).__name__, input_shape, num_heads=self.num_heads)
        for part in (self.attention_norm, self.attention, self.mlp_norm, self.mlp, *self.scales):
            part.build(input_shape)


def _recompute(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Returns `keras.remat(function)`.

    On TensorFlow this turns one pass of the graph optimizer off for the process, which removes order between operations (TensorFlow 2.21):
    a recomputed branch's last product, whose result no gradient needs, was the only path from the reading of its kernel to the
    optimizer's update, and the gradient of the branch could see the updated kernel.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.optimizer.set_experimental_options({"dependency_optimization": False})
    recomputed: Callable[[Tensor], Tensor] = keras.remat(function)
    return recomputed
