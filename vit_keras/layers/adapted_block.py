"""LoRA: a block whose frozen projections have trainable low-rank adapters."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from vit_keras.errors import InvalidArgumentError
from vit_keras.layers.base.checks import Shape, Tensor, check_choice, check_positive
from vit_keras.layers.base.composite_layer import CompositeLayer
from vit_keras.layers.parallel_block import ParallelBlock
from vit_keras.layers.transformer_block import TransformerBlock

_PLACES = {
    "qkv": ("attention", "qkv"),
    "output": ("attention", "output_projection"),
    "expand": ("mlp", "expand"),
    "contract": ("mlp", "contract"),
}
TARGETS = tuple(_PLACES)
"""The projections of a block that can have an adapter."""

ADAPTER_WEIGHTS = ("adapter_down", "adapter_up")
"""Names of an adapter's two matrices."""


@keras.saving.register_keras_serializable(package="vit_keras")
class LowRank(CompositeLayer, keras.layers.Wrapper):
    """The output of a projection plus the output of a low-rank adapter.

    Paper: Hu et al. 2021, arXiv 2106.09685, section 4.1, equation 3. Our `adapter_down` is their A, initialized as in their
    code, and `adapter_up` their B, initially zero. Keras' `enable_lora` adds the product of both to the kernel, whose gradient
    is as large as the kernel; here the input is multiplied by one matrix after the other.

    Args:
        layer: A `keras.layers.Dense` without activation.
        rank: Width between the two matrices.
        alpha: The adapter's output is scaled by `alpha / rank`.

    Shapes:
        inputs: `(..., inputs)`.
        returns: `(..., units)`, with the projection's units.

    Example:
        >>> LowRank(keras.layers.Dense(12), rank=2, alpha=4)(keras.Input((8,))).shape
        (None, 12)
    """

    def __init__(self, layer: keras.layers.Dense, *, rank: int, alpha: float, **kwargs: Any) -> None:
        super().__init__(layer, **kwargs)
        _check_rank(type(self).__name__, rank=rank, alpha=alpha)
        self.rank = rank
        self.alpha = alpha

    def build_parts(self, input_shape: Shape) -> None:
        """Creates the matrices in float32 under every policy: their updates are too small for half precision."""
        if not self.layer.built:
            self.layer.build(input_shape)
        uniform = keras.initializers.VarianceScaling(1 / 3, mode="fan_in", distribution="uniform")
        down, up = (input_shape[-1], self.rank), (self.rank, self.layer.units)
        self.adapter_down = self.add_weight(down, initializer=uniform, dtype="float32", name="adapter_down")
        self.adapter_up = self.add_weight(up, initializer="zeros", dtype="float32", name="adapter_up")

    def call(self, inputs: Tensor) -> Tensor:
        """Computes the paper's equation 3."""
        down, up = (ops.cast(weight, inputs.dtype) for weight in (self.adapter_down, self.adapter_up))
        adapted = ops.matmul(ops.matmul(inputs, down), up)
        return self.layer(inputs) + self.alpha / self.rank * adapted

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Returns the projection's."""
        return (*input_shape[:-1], self.layer.units)


@keras.saving.register_keras_serializable(package="vit_keras")
class AdaptedBlock(TransformerBlock):
    """A `TransformerBlock` with a `LowRank` around some of its projections; its other weights keep their names.

    Args:
        num_heads: Attention heads; they divide the tokens' width.
        mlp_dim: Hidden width of the MLP.
        adapters: The adapters' `rank`, `alpha` and `targets` (some of `TARGETS`).
        **kwargs: As for `TransformerBlock`.

    Shapes:
        tokens: `(batch, tokens, hidden_dim)`.
        returns: The same.

    Example:
        >>> block = AdaptedBlock(4, 256, adapters={"rank": 8, "alpha": 8, "targets": ["qkv"]}, name="block_00")
        >>> block(keras.Input((197, 64))).shape, [w.path for w in block.weights if "adapter" in w.path]
        ((None, 197, 64), ['block_00/attention/qkv/adapter_down', 'block_00/attention/qkv/adapter_up'])
    """

    def __init__(self, num_heads: int, mlp_dim: int, *, adapters: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(num_heads, mlp_dim, **kwargs)
        check_adapters(**adapters)
        self.adapters = {**adapters, "targets": list(adapters["targets"])}

    def build_parts(self, input_shape: Shape) -> None:
        """Builds the block, then wraps its projections."""
        super().build_parts(input_shape)
        rank, alpha = self.adapters["rank"], self.adapters["alpha"]
        for target in self.adapters["targets"]:
            part_name, attribute = _PLACES[target]
            part = getattr(self, part_name)
            projection = getattr(part, attribute)
            adapted = LowRank(projection, rank=rank, alpha=alpha, dtype=self.dtype_policy, name=target)
            with keras.name_scope(part_name):
                adapted.build((None, projection.kernel.shape[0]))
            part._tracker.unlock()  # as Keras' own `enable_lora` does: there is no public way to change a built layer
            setattr(part, attribute, adapted)
            part._tracker.lock()

    @property
    def adapted(self) -> list[LowRank]:
        """The adapted projections, once built."""
        places = [_PLACES[target] for target in self.adapters["targets"]]
        return [getattr(getattr(self, part), attribute) for part, attribute in places]

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "adapters": dict(self.adapters)}


@keras.saving.register_keras_serializable(package="vit_keras")
class AdaptedParallelBlock(AdaptedBlock, ParallelBlock):
    """What `AdaptedBlock(..., parallel=True)` returns: a `ParallelBlock` with adapters."""


AdaptedBlock.parallel_class = AdaptedParallelBlock
AdaptedParallelBlock.__name__ = AdaptedBlock.__name__  # a path in `.keras` files, as in `parallel_block.py`


def check_adapters(*, rank: int, alpha: float, targets: Sequence[str]) -> None:
    """Raises `InvalidArgumentError` for arguments that don't describe adapters."""
    _check_rank("An adapter", rank=rank, alpha=alpha)
    if isinstance(targets, str) or not isinstance(targets, Sequence) or not targets or len(set(targets)) < len(targets):
        raise InvalidArgumentError(
            f"targets={targets!r} is not a list of one or more of {list(TARGETS)}, each at most once."
        )
    for target in targets:
        check_choice("An adapter", choices=TARGETS, targets=target)


def _check_rank(layer: str, *, rank: int, alpha: float) -> None:
    check_positive(layer, rank=rank)
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0 < alpha < float("inf"):
        raise InvalidArgumentError(f"{layer} needs a positive number, not alpha={alpha!r}.")
