"""What happens inside of a block, step by step, computed on the side: the model's own fused path stays as it is."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from vit_keras.config import ViTConfig
from vit_keras.errors import DataError, InvalidArgumentError
from vit_keras.layers import SelfAttention, TransformerBlock
from vit_keras.layers.base.checks import Tensor
from vit_keras.layers.mlp import ACTIVATIONS
from vit_keras.models.architecture import IMAGES
from vit_keras.models.own_head import ends_in_probabilities, is_probabilities
from vit_keras.models.pixel_range import find_pixel_problem
from vit_keras.models.vit import model_config
from vit_keras.models.wiring import read_model


@dataclass(frozen=True, kw_only=True, eq=False)
class BlockRecord:
    """Every step of a block on some tokens, as tensors of the backend, in inference.

    Dosovitskiy et al. 2021, arXiv 2010.11929, equations 2 and 3 and appendix A. In a block whose attention and MLP stand side by side
    `after_attention` is the block's input, for no residual stands between.

    Args:
        tokens: `(batch, tokens, hidden_dim)`, what comes in.
        normed: Likewise, normalised.
        queries: `(batch, heads, tokens, head_dim)`, as they meet the keys: normalised and turned where the model does that.
        keys: Likewise.
        values: Likewise.
        scores: `(batch, heads, tokens, tokens)`, scaled by `head_dim ** -0.5`, before the softmax; float32.
        weights: Likewise, after it; rows sum to 1.
        heads: `(batch, heads, tokens, head_dim)`, the weighted sums of the values.
        joined: `(batch, tokens, hidden_dim)`, heads side by side.
        attended: Likewise, projected, before any layer scale.
        after_attention: Likewise, with the residual.
        mlp_normed: Likewise, normalised again.
        expanded: `(batch, tokens, mlp_dim)`, inside the MLP, as they go into its second projection.
        contracted: `(batch, tokens, hidden_dim)`, out of the MLP, before any layer scale.
        output: Likewise, what comes out of the block.
    """

    tokens: Tensor
    normed: Tensor
    queries: Tensor
    keys: Tensor
    values: Tensor
    scores: Tensor
    weights: Tensor
    heads: Tensor
    joined: Tensor
    attended: Tensor
    after_attention: Tensor
    mlp_normed: Tensor
    expanded: Tensor
    contracted: Tensor
    output: Tensor


def blocks_of(model: keras.Model) -> list[TransformerBlock]:
    """Returns the blocks of a model, first to last.

    Args:
        model: A model that `vit` or `from_preset` made.

    Raises:
        InvalidArgumentError: It is none.
    """
    return read_model(model).blocks


def chosen_blocks(model: keras.Model, wanted: Sequence[int] | int | None) -> list[int]:
    """Returns numbers of blocks from 0; negative ones count from the end.

    Args:
        model: A model that `vit` or `from_preset` made.
        wanted: One, several, or None for all.

    Raises:
        InvalidArgumentError: There is no such block; the message says which there are.
    """
    return chosen(wanted, len(blocks_of(model)), what="block")


def chosen(wanted: Sequence[int] | int | None, count: int, *, what: str) -> list[int]:
    """Returns numbers from 0; negative ones count from the end.

    Args:
        wanted: One, several, or None for all.
        count: How many there are.
        what: What a message calls one.

    Raises:
        InvalidArgumentError: There is no such number, or none is asked for.

    Example:
        >>> chosen([0, -1], 12, what="block")
        [0, 11]
    """
    numbers = range(count) if wanted is None else [wanted] if isinstance(wanted, int | np.integer) else list(wanted)
    if not len(numbers):
        raise InvalidArgumentError(f"No {what} is asked for; give numbers from 0 to {count - 1}, or None for all.")
    for number in numbers:
        if isinstance(number, bool) or not isinstance(number, int | np.integer) or not -count <= number < count:
            raise InvalidArgumentError(
                f"There is no {what} {number!r}: the model has {count}, 0 to {count - 1}, or -1 for the last."
            )
    return [int(number) % count for number in numbers]


def checked_images(model: keras.Model, images: Any) -> np.ndarray:
    """Returns images as the model takes them; one alone becomes a batch of one.

    Args:
        model: A model that `vit` or `from_preset` made.
        images: `(batch, height, width, channels)` or `(height, width, channels)`, pixels 0..255.

    Raises:
        DataError: They are no images, of another size than the model's, scaled to 0..1 or normalized, or hold no numbers.
    """
    config = model_config(model)
    wanted = (*config.image_size, config.channels)
    pixels = np.asarray(images)
    if pixels.ndim == 3:
        pixels = pixels[None]
    if pixels.ndim != 4 or pixels.dtype.kind not in "uif" or not len(pixels):
        raise DataError(
            f"images: expected pixels 0..255 of shape (batch, {', '.join(map(str, wanted))}), not {pixels.dtype} of shape {pixels.shape}."
        )
    if pixels.shape[1:] != wanted:
        raise DataError(
            f"The images are {pixels.shape[1:]} (height, width, channels) where the model takes {wanted}: resize them, or make the "
            f"model with image_size={pixels.shape[1:3]}."
        )
    if not np.isfinite(pixels).all():
        raise DataError("The images hold NaN or infinity where pixels 0..255 were expected.")
    problem = find_pixel_problem(pixels, pixel_std=config.pixel_std)
    if problem is not None:
        raise DataError(f"images: {problem}")
    return pixels


def pieces(images: np.ndarray, batch_size: int) -> Iterator[np.ndarray]:
    """Yields images a few at a time, so that memory is bounded.

    Args:
        images: All.
        batch_size: Images at once.

    Raises:
        InvalidArgumentError: The batch size is not positive.
    """
    if type(batch_size) is not int or batch_size < 1:
        raise InvalidArgumentError(f"batch_size={batch_size!r} is not a positive whole number.")
    for first in range(0, len(images), batch_size):
        yield images[first : first + batch_size]


def block_inputs(model: keras.Model, images: np.ndarray, numbers: Sequence[int]) -> dict[int, Tensor]:
    """Returns the tokens that go into some blocks; what is behind the last of them is not computed.

    Args:
        model: A model that `vit` or `from_preset` made.
        images: `(batch, height, width, channels)`.
        numbers: Of the blocks.
    """
    parts = read_model(model)
    blocks, last = parts.blocks, max(numbers)
    entered = parts.tensors["stem_norm" if parts.config.stem_norm else "patch_encoder"]
    tokens = keras.Model(parts.tensors[IMAGES], entered)(images, training=False)
    found = {}
    for number, block in enumerate(blocks[: last + 1]):
        if number in numbers:
            found[number] = tokens
        if number < last:
            tokens = block(tokens, training=False)
    return found


def record_block(block: TransformerBlock, tokens: Tensor, added: Tensor | None = None) -> BlockRecord:
    """Returns every step of a block.

    Args:
        block: A block of a built model.
        tokens: `(batch, tokens, hidden_dim)`.
        added: `(batch, heads, tokens, tokens)`, added to the attention weights; their gradient is that of the weights.
    """
    normed = block.attention_norm(tokens)
    queries, keys, values = queries_keys_values(block.attention, normed)
    scores = attention_scores(queries, keys)
    weights = ops.softmax(scores)
    if added is not None:
        weights = weights + added
    heads = ops.matmul(ops.cast(weights, values.dtype), values)
    joined = _joined(heads)
    attended = block.attention.output_projection(joined)
    if block.parallel:
        after_attention, mlp_normed = tokens, normed
    else:
        after_attention = tokens + block.scales[0](attended)
        mlp_normed = block.mlp_norm(after_attention)
    expanded = _expanded(block, mlp_normed)
    contracted = block.mlp.contract(expanded)
    output = (
        tokens + block.scales[0](attended + contracted)
        if block.parallel
        else after_attention + block.scales[1](contracted)
    )
    return BlockRecord(
        tokens=tokens,
        normed=normed,
        queries=queries,
        keys=keys,
        values=values,
        scores=scores,
        weights=weights,
        heads=heads,
        joined=joined,
        attended=attended,
        after_attention=after_attention,
        mlp_normed=mlp_normed,
        expanded=expanded,
        contracted=contracted,
        output=output,
    )


def queries_keys_values(attention: SelfAttention, normed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns queries, keys and values as they are multiplied, each `(batch, heads, tokens, head_dim)`.

    Args:
        attention: Of a built block.
        normed: `(batch, tokens, hidden_dim)`.
    """
    _, count, hidden_dim = normed.shape
    qkv = attention.qkv(normed)
    if attention.qkv_bias == "query_value":
        no_bias = ops.zeros((hidden_dim,), attention.query_bias.dtype)
        qkv = qkv + ops.cast(ops.concatenate([attention.query_bias, no_bias, attention.value_bias]), qkv.dtype)
    qkv = ops.reshape(qkv, (-1, count, 3, attention.num_heads, hidden_dim // attention.num_heads))
    queries, keys, values = ops.unstack(qkv, 3, axis=2)
    queries, keys = attention.rotate(attention.query_norm(queries)), attention.rotate(attention.key_norm(keys))
    queries, keys, values = (ops.transpose(each, (0, 2, 1, 3)) for each in (queries, keys, values))
    return queries, keys, values


def attention_scores(queries: Tensor, keys: Tensor) -> Tensor:
    """Returns scaled products of queries and keys, `(batch, heads, tokens, tokens)`, float32.

    Args:
        queries: `(batch, heads, tokens, head_dim)`.
        keys: Likewise.
    """
    scaled = queries * queries.shape[-1] ** -0.5
    return ops.cast(ops.matmul(scaled, ops.transpose(keys, (0, 1, 3, 2))), "float32")


def pooling_attention(model: keras.Model, tokens: Tensor) -> Tensor:
    """Returns what attention pooling looks at, `(batch, heads, tokens)`; rows sum to 1, and are 0 for tokens it skips.

    Args:
        model: With `pooling="map"`.
        tokens: `(batch, tokens, hidden_dim)`, as they go into the pooling.
    """
    pooling = read_model(model).layers["pooling"]
    skipped = pooling.num_skipped_tokens
    tokens = tokens[:, skipped:]
    heads, (_, count, hidden_dim) = pooling.num_heads, tokens.shape
    head_dim = hidden_dim // heads
    queries = ops.reshape(pooling.query(ops.cast(pooling.probe, tokens.dtype)), (1, heads, 1, head_dim))
    keys = ops.reshape(pooling.key_value(tokens), (-1, count, 2, heads, head_dim))[:, :, 0]
    scores = attention_scores(queries, ops.transpose(keys, (0, 2, 1, 3)))
    return ops.pad(ops.softmax(scores)[:, :, 0], ((0, 0), (0, 0), (skipped, 0)))


def pooled_logits(model: keras.Model, tokens: Tensor) -> Tensor:
    """Returns logits, before any softmax, from what comes out of the last block; of a model without a head its features.

    Args:
        model: A model that `vit` or `from_preset` made.
        tokens: `(batch, tokens, hidden_dim)`.
    """
    parts = read_model(model)
    config, layers = parts.config, parts.layers
    tokens = normalised_tokens(config, layers, tokens)
    seen = layers["pooling"](tokens)
    if config.final_norm == "after":
        seen = layers["final_norm"](seen)
    if config.pre_logits_dim is not None:
        seen = layers["pre_logits"](seen)
    outputs = [_linear(layers.get("head"), seen)]
    if config.has_two_heads:
        second = layers["distillation_pooling"](tokens)
        outputs.append(_linear(layers.get("head_distillation"), second))
    output = sum(outputs[1:], outputs[0]) / len(outputs)
    return _through(parts.own_head, output)


def normalised_tokens(config: ViTConfig, layers: Mapping[str, keras.layers.Layer], tokens: Tensor) -> Tensor:
    """Returns the tokens as they go into the pooling.

    Args:
        config: The model's.
        layers: The model's, by name.
        tokens: Out of the last block.
    """
    return layers["final_norm"](tokens) if config.final_norm == "before" else tokens


def _through(own_head: Sequence[keras.layers.Layer], output: Tensor) -> Tensor:
    """Returns what the user's own layers make of an output, a softmax or sigmoid at the end left out."""
    layers = list(own_head)
    while layers and is_probabilities(layers[-1]):
        layers.pop()
    for layer in layers:
        at_end = layer is layers[-1] and isinstance(layer, keras.layers.Dense) and ends_in_probabilities(layer)
        output = _linear(layer, output) if at_end else layer(output)
    return output


def _linear(head: keras.layers.Dense | None, seen: Tensor) -> Tensor:
    if head is None:
        return seen
    logits = ops.matmul(ops.cast(seen, "float32"), head.kernel)
    return logits + head.bias if head.use_bias else logits


def _joined(heads: Tensor) -> Tensor:
    _, count, tokens, head_dim = heads.shape
    return ops.reshape(ops.transpose(heads, (0, 2, 1, 3)), (-1, tokens, count * head_dim))


def _expanded(block: TransformerBlock, normed: Tensor) -> Tensor:
    inside, activation = block.mlp.expand(normed), ACTIVATIONS[block.activation]
    if block.gated_mlp:
        gates, values = ops.split(inside, 2, axis=-1)
        inside = activation(gates) * values
    else:
        inside = activation(inside)
    return block.mlp.normalise(inside)
