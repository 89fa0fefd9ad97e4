"""One SHA-256 over named weights."""

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np


def digest_weights(weights: Iterable[tuple[str, Any]], *, prefix: str = "") -> str:
    """Returns the SHA-256 of weights: of the prefix, then of each weight its label and its bytes.

    Files hold such digests, so labels never change.

    Example:
        >>> digest_weights([("bias", np.zeros(2, "float32"))])[:8]
        '6f58b405'
    """
    digest = hashlib.sha256(prefix.encode())
    for label, values in weights:
        digest.update(label.encode())
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()
