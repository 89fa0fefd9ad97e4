"""LoRA: a block whose frozen projections have trainable low-rank adapters."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from vit_keras.errors import InvalidArgumentError
from vit_keras.layers.base.checks import Shape, Tensor, check_choice, check_positive
from vit_keras.layers.base.composite_layer import CompositeLayer
from vit_keras.layers.kernels.projection import project
from vit_keras.layers.parallel_block import ParallelBlock
from vit_keras.layers.transformer_block import TransformerBlock
from vit_keras.validation import list_words

_PLACES = {  # part of a block, its projection, and which of how many equal parts of the projection's outputs
    "qkv": ("attention", "qkv", (0, 1)),
    "query": ("attention", "qkv", (0, 3)),
    "key": ("attention", "qkv", (1, 3)),
    "value": ("attention", "qkv", (2, 3)),
    "output": ("attention", "output_projection", (0, 1)),
    "expand": ("mlp", "expand", (0, 1)),
    "gate": ("mlp", "expand", (0, 2)),
    "up": ("mlp", "expand", (1, 2)),
    "contract": ("mlp", "contract", (0, 1)),
}
TARGETS = ("qkv", "output", "expand", "contract")
"""The projections of a block that can have an adapter."""
ALL_TARGETS = tuple(_PLACES)
"""The same, and the parts that other libraries have as separate projections: of "qkv" and of a gated "expand"."""
SCALINGS = {"rank": lambda rank: rank, "sqrt_rank": math.sqrt}
"""What alpha is divided by; "sqrt_rank" is rank-stabilized LoRA (Kalajdzievski 2023, arXiv 2312.03732)."""

ADAPTER_WEIGHTS = ("adapter_down", "adapter_up")
"""Names of an adapter's two matrices."""


@keras.saving.register_keras_serializable(package="vit_keras")
class LowRank(CompositeLayer, keras.layers.Wrapper):
    """The output of a projection plus the output of a low-rank adapter.

    Paper: Hu et al. 2021, arXiv 2106.09685, section 4.1, equation 3. Our `adapter_down` is their A, initialized as in their
    code, and `adapter_up` their B, initially zero. Keras' `enable_lora` adds the product of both to the kernel, whose gradient
    is as large as the kernel; here the input is multiplied by one matrix after the other.

    Args:
        layer: A `keras.layers.Dense` without activation, or a `LowRank` around one.
        rank: Width between the two matrices.
        alpha: The adapter's output is scaled by `alpha / rank`.
        scaling: "rank", or "sqrt_rank" to scale by `alpha / sqrt(rank)`.
        part: Which of how many equal parts of the outputs the adapter is added to: `(1, 3)` for the keys of queries, keys, values.

    Shapes:
        inputs: `(..., inputs)`.
        returns: `(..., units)`, with the projection's units.

    Example:
        >>> LowRank(keras.layers.Dense(12), rank=2, alpha=4)(keras.Input((8,))).shape
        (None, 12)
    """

    def __init__(
        self,
        layer: keras.layers.Layer,
        *,
        rank: int,
        alpha: float,
        scaling: str = "rank",
        part: Sequence[int] = (0, 1),
        **kwargs: Any,
    ) -> None:
        super().__init__(layer, **kwargs)
        _check_rank(type(self).__name__, rank=rank, alpha=alpha, scaling=scaling)
        self.rank = rank
        self.alpha = alpha
        self.scaling = scaling
        self.part = tuple(part)

    @property
    def scale(self) -> float:
        """The factor of the adapter's output."""
        return float(self.alpha / SCALINGS[self.scaling](self.rank))

    @property
    def units(self) -> int:
        """Width of the outputs."""
        return int(self.layer.units)

    @property
    def kernel(self) -> keras.Variable:
        """The kernel of the projection."""
        return self.layer.kernel

    @property
    def columns(self) -> slice:
        """The outputs that the adapter is added to."""
        index, count = self.part
        width = self.units // count
        return slice(index * width, (index + 1) * width)

    def build_parts(self, input_shape: Shape) -> None:
        """Creates the matrices in float32 under every policy: their updates are too small for half precision."""
        if not self.layer.built:
            self.layer.build(input_shape)
        uniform = keras.initializers.VarianceScaling(1 / 3, mode="fan_in", distribution="uniform")
        down, up = (input_shape[-1], self.rank), (self.rank, self.units // self.part[1])
        self.adapter_down = self.add_weight(down, initializer=uniform, dtype="float32", name="adapter_down")
        self.adapter_up = self.add_weight(up, initializer="zeros", dtype="float32", name="adapter_up")

    def call(self, inputs: Tensor) -> Tensor:
        """Computes the paper's equation 3."""
        down, up = (ops.cast(weight, inputs.dtype) for weight in (self.adapter_down, self.adapter_up))
        adapted = self.scale * ops.matmul(ops.matmul(inputs, down), up)
        if self.part[1] > 1:
            others = [0, 0], [self.columns.start, self.units - self.columns.stop]
            adapted = ops.pad(adapted, [others[0]] * (len(adapted.shape) - 1) + [others[1]])
        # The same operations as without an adapter, so that a new one changes no bit.
        return project(self.layer, inputs, training=None) + adapted

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Returns the projection's."""
        return (*input_shape[:-1], self.units)


@keras.saving.register_keras_serializable(package="vit_keras")
class AdaptedBlock(TransformerBlock):
    """A `TransformerBlock` with a `LowRank` around some of its projections; its other weights keep their names.

    Args:
        num_heads: Attention heads; they divide the tokens' width.
        mlp_dim: Hidden width of the MLP.
        adapters: The adapters' `targets`, some of `ALL_TARGETS`; `rank` and `alpha`, each a number or a mapping from each target to its
            own; and, unless it is "rank", `scaling`.
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
        halves = {"gate", "up"} & {*adapters["targets"]}
        if halves and not self.gated_mlp:
            raise InvalidArgumentError(f"targets={sorted(halves)} are parts of a gated MLP, and gated_mlp is False.")
        self.adapters = {**adapters, "targets": list(adapters["targets"])}

    def build_parts(self, input_shape: Shape) -> None:
        """Builds the block, then wraps its projections."""
        super().build_parts(input_shape)
        for target in self.adapters["targets"]:
            part_name, attribute, columns = _PLACES[target]
            part = getattr(self, part_name)
            projection = getattr(part, attribute)
            rank, alpha = (_value_of(self.adapters[name], target) for name in ("rank", "alpha"))
            adapted = LowRank(
                projection, rank=rank, alpha=alpha, scaling=self.adapters.get("scaling", "rank"), part=columns,
                dtype=self.dtype_policy, name=target,
            )  # fmt: skip
            with keras.name_scope(part_name):
                adapted.build((None, projection.kernel.shape[0]))
            part._tracker.unlock()  # as Keras' own `enable_lora` does: there is no public way to change a built layer
            setattr(part, attribute, adapted)
            part._tracker.lock()

    @property
    def adapted(self) -> list[LowRank]:
        """The adapters in the order of the targets, once built; those of parts of one projection are around each other."""
        found = {}
        for target in self.adapters["targets"]:
            part, attribute, _ = _PLACES[target]
            layer = getattr(getattr(self, part), attribute)
            while isinstance(layer, LowRank):
                found[layer.name] = layer
                layer = layer.layer
        return [found[target] for target in self.adapters["targets"]]

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "adapters": dict(self.adapters)}


@keras.saving.register_keras_serializable(package="vit_keras")
class AdaptedParallelBlock(AdaptedBlock, ParallelBlock):
    """What `AdaptedBlock(..., parallel=True)` returns: a `ParallelBlock` with adapters."""


AdaptedBlock.parallel_class = AdaptedParallelBlock
AdaptedParallelBlock.__name__ = AdaptedBlock.__name__  # a path in `.keras` files, as in `parallel_block.py`


def check_adapters(*, rank: Any, alpha: Any, targets: Sequence[str], scaling: str = "rank") -> None:
    """Raises `InvalidArgumentError` for arguments that don't describe adapters."""
    if isinstance(targets, str) or not isinstance(targets, Sequence) or not targets or len(set(targets)) < len(targets):
        raise InvalidArgumentError(
            f"targets={targets!r} is not a list of one or more of {list_words(ALL_TARGETS)}, each at most once."
        )
    for target in targets:
        check_choice("An adapter", choices=ALL_TARGETS, targets=target)
    for whole, parts in (("qkv", {"query", "key", "value"}), ("expand", {"gate", "up"})):
        if whole in targets and parts & set(targets):
            raise InvalidArgumentError(
                f"targets={list(targets)}: {whole!r} includes {list_words(sorted(parts))}; give one or the other."
            )
    for name, value in (("rank", rank), ("alpha", alpha)):
        if isinstance(value, Mapping) and value.keys() != set(targets):
            raise InvalidArgumentError(f"{name}={value!r} must have a value for each of targets={list(targets)}.")
    for target in targets:
        _check_rank("An adapter", rank=_value_of(rank, target), alpha=_value_of(alpha, target), scaling=scaling)


def _value_of(value: Any, target: str) -> Any:
    return value[target] if isinstance(value, Mapping) else value


def _check_rank(layer: str, *, rank: int, alpha: float, scaling: str) -> None:
    check_positive(layer, rank=rank)
    check_choice(layer, choices=tuple(SCALINGS), scaling=scaling)
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0 < alpha < float("inf"):
        raise InvalidArgumentError(f"{layer} needs a positive number, not alpha={alpha!r}.")
