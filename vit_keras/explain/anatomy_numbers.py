"""The numbers a page shows of one forward pass, small enough to be carried inside of it.

An S/16 at 224 px makes 3 million attention weights and 20 million other numbers on the way; a page of 5 MB holds a quarter of the weights
alone in float32. So the page carries:

- what it prints, for every token of every block and head: the first `CORNER` numbers of a vector (`HEAD_CORNER` inside of a head), and of
  each row of scores and weights those of the tokens in front and of the `STRONGEST` patches it looks at most. As 3-byte floats, the
  upper bytes of a float32: 15 bits behind the first, a relative error under 1.6e-5.
- what it colours: queries and keys in 8 bits, of which the browser computes any row of attention for a pointer over any patch, and the
  embedded tokens and positions likewise. Keys are stored less their mean over the tokens, which no softmax sees and which would take up
  most of the 8 bits. Colours are right to about 2 in 100; what a row prints is laid over them.

This grows with the number of tokens and not, as stored maps would, with its square. All arrays lie in one compressed sequence of bytes.
"""

import zlib
from typing import Any

import numpy as np
from keras import ops
from scipy.special import softmax

from vit_keras.errors import InvalidArgumentError
from vit_keras.explain.anatomy_steps import Anatomy
from vit_keras.explain.recording import blocks_of

CORNER = 6
HEAD_CORNER = 4
STRONGEST = 5


class Numbers:
    """Arrays in one sequence of bytes, and a directory of where each is."""

    def __init__(self) -> None:
        self.directory: dict[str, dict[str, Any]] = {}
        self._parts: list[bytes] = []
        self._length = 0

    def add(self, name: str, array: np.ndarray, kind: str) -> None:
        """Appends an array.

        Args:
            name: What the page calls it.
            array: Any shape.
            kind: "uint8", "int8" or "uint16", little-endian; or "float24", planes of the highest, the middle and the lowest byte.
        """
        shape = list(array.shape)
        data = _float24(array) if kind == "float24" else np.ascontiguousarray(array, np.dtype(kind).newbyteorder("<"))
        self.directory[name] = {"kind": kind, "shape": shape, "start": self._length}
        self._parts.append(data.tobytes())
        self._length += data.nbytes

    def compressed(self) -> bytes:
        """Returns all of them in zlib's format, which every browser unpacks."""
        return zlib.compress(b"".join(self._parts), 9)


def numbers_of(passed: Anatomy) -> Numbers:
    """Returns what a page shows of a forward pass.

    Args:
        passed: All its steps.
    """
    numbers, image = Numbers(), passed.image
    numbers.add("pixels", image, "uint8" if np.array_equal(image, image.astype("uint8")) else "float24")
    shown = {
        name: array[..., :CORNER]
        for name in (
            "patches",
            "projected",
            "prefix",
            "positions",
            "embedded",
            "tokens",
            "normalised",
            "pooled",
            "features",
        )
        if (array := getattr(passed, name)) is not None
    }
    shown |= {
        name: array
        for name in ("pooling_weights", "head_logits", "logits", "output")
        if (array := getattr(passed, name)) is not None
    }
    for name, array in shown.items():
        numbers.add(name, array, "float24")
    if passed.depth_logits is not None:
        numbers.add("depth_probabilities", softmax(passed.depth_logits, axis=-1)[:, likeliest(passed)], "float24")
    _add_colours(numbers, passed)
    _add_blocks(numbers, passed)
    return numbers


def likeliest(passed: Anatomy, count: int = 8) -> list[int]:
    """Returns the classes with the greatest logits, the best first; none of a model without a head.

    Args:
        passed: All its steps.
        count: How many.
    """
    return [] if passed.logits is None else np.argsort(-passed.logits, kind="stable")[:count].tolist()


def probabilities_of(passed: Anatomy) -> np.ndarray:
    """Returns the softmax of the logits.

    Args:
        passed: All its steps, of a model with a head.

    Raises:
        InvalidArgumentError: The model has none.
    """
    if passed.logits is None:
        raise InvalidArgumentError(f"The model {passed.model.name!r} has no head, so it says nothing of classes.")
    shares: np.ndarray = softmax(passed.logits)
    return shares


def _add_colours(numbers: Numbers, passed: Anatomy) -> None:
    before = np.concatenate([passed.prefix, passed.projected])
    for name, array in {"before_positions": before, "position_colours": passed.positions}.items():
        if array is not None:
            quantised, _ = _in_8_bits(array.reshape(1, -1))
            numbers.add(name, quantised.reshape(array.shape), "int8")


def _add_blocks(numbers: Numbers, passed: Anatomy) -> None:
    """Adds what is inside of the blocks, block by block, one array of each kind in the end."""
    config, found = passed.config, dict[str, tuple[str, list[np.ndarray]]]()

    def note(name: str, array: np.ndarray, kind: str = "float24") -> None:
        found.setdefault(name, (kind, []))[1].append(array)

    prefix = config.num_prefix_tokens
    for number in range(config.num_layers):
        record = passed.block(number)
        for name in ("normed", "attended", "after_attention", "mlp_normed", "expanded", "contracted"):
            note(name, getattr(record, name)[:, :CORNER])
        for name in ("queries", "keys", "values", "heads"):
            note(name, getattr(record, name)[..., :HEAD_CORNER])
        among_patches = record.weights[..., prefix:]
        strongest = np.argsort(-among_patches, axis=-1, kind="stable")[..., :STRONGEST]  # (heads, tokens, strongest)
        note("strongest", strongest, "uint16")
        for name in ("scores", "weights"):
            rows = getattr(record, name)
            of_strongest = np.take_along_axis(rows[..., prefix:], strongest, axis=-1)
            note(f"seen_{name}", np.concatenate([rows[..., :prefix], of_strongest], axis=-1))
        for name, vectors in {
            "query": record.queries,
            "key": record.keys - record.keys.mean(1, keepdims=True),
        }.items():
            quantised, scales = _in_8_bits(vectors)
            note(f"{name}_colours", quantised, "int8")
            note(f"{name}_scales", scales)
        if config.layer_scale is not None:
            of_block = blocks_of(passed.model)[number].scales
            note("layer_scales", np.stack([ops.convert_to_numpy(scale.gamma)[:CORNER] for scale in of_block]))
    for name, (kind, arrays) in found.items():
        numbers.add(name, np.stack(arrays), kind)


def _in_8_bits(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns whole numbers from -127 to 127, and what each vector's are multiplied by."""
    scales = np.maximum(np.abs(vectors).max(-1), 1e-12) / 127
    return np.round(vectors / scales[..., None]).astype("int8"), scales


def _float24(array: np.ndarray) -> np.ndarray:
    """Returns the upper three bytes of every float32, rounded, in planes: like bytes side by side compress better."""
    bits = np.ascontiguousarray(array, "<f4").reshape(-1).view("<u4")
    rounded = (bits.astype("uint64") + 0x80) >> 8
    return np.stack([rounded >> 16, rounded >> 8 & 0xFF, rounded & 0xFF]).astype("uint8")
