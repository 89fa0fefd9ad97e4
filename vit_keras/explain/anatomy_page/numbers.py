"""The numbers of one forward pass that the page holds, compressed.

An S/16 at 224 px computes 3 million attention weights and 20 million other numbers. To stay below 5 MB, the page holds:

- what it prints, for every token of every block and head: the first `CORNER` numbers of a vector (`HEAD_CORNER` of a head's), and of
  each row of scores and weights those of the prefix tokens and of the `STRONGEST` patches. They are 3-byte floats, the upper bytes of
  a float32, with a relative error below 1.6e-5.
- what it colors: queries and keys in 8 bits, from which the browser computes any row of attention, and the embedded tokens and
  positions. Keys are stored minus their mean over the tokens, which the softmax ignores but which would use most of the 8 bits.
  Colors are accurate to about 2 %; the printed rows replace them where both exist.

Its size grows with the number of tokens, not with its square.
"""

import zlib
from typing import Any

import numpy as np
from keras import ops
from scipy.special import softmax

from vit_keras.explain.forward_pass import Anatomy
from vit_keras.models.wiring import read_model

CORNER = 6
HEAD_CORNER = 4
STRONGEST = 5
_VECTORS = (
    "patches", "projected", "prefix", "positions", "embedded", "tokens", "normalized", "pooled", "features",
)  # fmt: skip
_WHOLE = ("pooling_weights", "head_logits", "logits", "output")


class PackedArrays:
    """Arrays in one sequence of bytes, with a directory of their positions."""

    def __init__(self) -> None:
        self.directory: dict[str, dict[str, Any]] = {}
        self._parts: list[bytes] = []
        self._length = 0

    def add(self, name: str, array: np.ndarray, kind: str) -> None:
        """Appends an array as "uint8", "int8", "uint16" (little-endian), or "float24": planes of the high, middle and low bytes."""
        self.directory[name] = {"kind": kind, "shape": list(array.shape), "start": self._length}
        is_float24 = kind == "float24"
        data = _encode_float24(array) if is_float24 else array.astype(np.dtype(kind).newbyteorder("<"))
        self._parts.append(data.tobytes())
        self._length += data.nbytes

    def compressed(self) -> bytes:
        """Returns all arrays in zlib's format, which every browser can decompress."""
        return zlib.compress(b"".join(self._parts), 9)


def pack_arrays(passed: Anatomy) -> PackedArrays:
    """Returns the numbers of a forward pass that the page holds."""
    height, width = (count * passed.config.patch_size for count in passed.config.grid_size)
    numbers, image = PackedArrays(), passed.image[:height, :width]  # what the patches cover
    numbers.add("pixels", image, "uint8" if np.array_equal(image, image.astype("uint8")) else "float24")
    for name in _VECTORS + _WHOLE:
        array = getattr(passed, name)
        if array is not None:
            numbers.add(name, array[..., :CORNER] if name in _VECTORS else array, "float24")
    if passed.depth_logits is not None:
        numbers.add("depth_probabilities", softmax(passed.depth_logits, axis=-1)[:, top_classes(passed)], "float24")
    _add_colors(numbers, passed)
    _add_blocks(numbers, passed)
    return numbers


def top_classes(passed: Anatomy, count: int = 8) -> list[int]:
    """Returns the top-k classes by logit; empty for a model without a head."""
    return [] if passed.logits is None else np.argsort(-passed.logits, kind="stable")[:count].tolist()


def _add_colors(numbers: PackedArrays, passed: Anatomy) -> None:
    before = np.concatenate([passed.prefix, passed.projected])
    for name, array in {"before_positions": before, "position_colors": passed.positions}.items():
        if array is not None:
            quantized, _ = _quantize(array.reshape(1, -1))
            numbers.add(name, quantized.reshape(array.shape), "int8")


def _add_blocks(numbers: PackedArrays, passed: Anatomy) -> None:
    """Adds the steps inside the blocks, one array for each step of all blocks."""
    config, found = passed.config, dict[str, tuple[str, list[np.ndarray]]]()

    def collect(name: str, array: np.ndarray, kind: str = "float24") -> None:
        found.setdefault(name, (kind, []))[1].append(array)

    prefix = config.num_prefix_tokens
    for index, block in enumerate(read_model(passed.model).blocks):
        record = passed.block(index)
        for name in ("normed", "attended", "after_attention", "mlp_normed", "expanded", "contracted"):
            collect(name, getattr(record, name)[:, :CORNER])
        for name in ("queries", "keys", "values", "heads"):
            collect(name, getattr(record, name)[..., :HEAD_CORNER])
        among_patches = record.weights[..., prefix:]
        strongest = np.argsort(-among_patches, axis=-1, kind="stable")[..., :STRONGEST]  # (heads, tokens, strongest)
        collect("strongest", strongest, "uint16")
        for name in ("scores", "weights"):
            rows = getattr(record, name)
            of_strongest = np.take_along_axis(rows[..., prefix:], strongest, axis=-1)
            collect(f"shown_{name}", np.concatenate([rows[..., :prefix], of_strongest], axis=-1))
        centered = record.keys - record.keys.mean(1, keepdims=True)
        for name, vectors in (("query", record.queries), ("key", centered)):
            quantized, scales = _quantize(vectors)
            collect(f"{name}_colors", quantized, "int8")
            collect(f"{name}_scales", scales)
        if config.layer_scale is not None:
            collect("layer_scales", np.stack([ops.convert_to_numpy(scale.gamma)[:CORNER] for scale in block.scales]))
    for name, (kind, arrays) in found.items():
        numbers.add(name, np.stack(arrays), kind)


def _quantize(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns integers from -127 to 127, and the scale of each vector."""
    scales = np.maximum(np.abs(vectors).max(-1), 1e-12) / 127
    return np.round(vectors / scales[..., None]).astype("int8"), scales


def _encode_float24(array: np.ndarray) -> np.ndarray:
    """Returns the upper three bytes of every float32, rounded, in planes, which compress better than interleaved bytes."""
    bits = np.ascontiguousarray(array, "<f4").reshape(-1).view("<u4")
    rounded = (bits.astype("uint64") + 0x80) >> 8
    return np.stack([rounded >> 16, rounded >> 8 & 0xFF, rounded & 0xFF]).astype("uint8")
