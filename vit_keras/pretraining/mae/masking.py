"""Random masking of patches: which are visible, and where each goes when they are put back in order."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from keras import ops

from vit_keras.errors import InvalidArgumentError
from vit_keras.layers.base.checks import Tensor
from vit_keras.validation import is_number


@dataclass(frozen=True, eq=False)
class Masking:
    """Which patches of each image are visible."""

    visible: Tensor  # (batch, visible): indices of the visible patches
    restore: Tensor  # (batch, patches): where each patch is in [visible patches, masked patches]
    mask: Tensor  # (batch, patches), float32: 1 for masked patches, 0 for visible ones


def count_visible(num_patches: int, mask_ratio: float) -> int:
    """Returns the number of visible patches, `num_patches * (1 - mask_ratio)` rounded down, without rounding errors.

    Raises:
        InvalidArgumentError: No patch would be visible, or none masked.

    Example:
        >>> count_visible(196, 0.75), count_visible(49, 0.75), count_visible(100, 0.9)
        (49, 12, 10)
    """
    if not is_number(mask_ratio) or not 0 < mask_ratio < 1:
        raise InvalidArgumentError(f"mask_ratio={mask_ratio!r} is not a fraction between 0 and 1; the paper uses 0.75.")
    count = int(num_patches * (1 - Fraction(repr(float(mask_ratio)))))
    if not 0 < count < num_patches:
        kept = "none visible" if count < 1 else "none masked"
        size = "" if num_patches > 1 else " It needs at least two patches: use a smaller patch_size or larger images."
        raise InvalidArgumentError(f"mask_ratio={mask_ratio!r} leaves {kept} of {num_patches} patches per image.{size}")
    return count


def shuffle(noise: Tensor, num_visible: int) -> Masking:
    """Returns the masking that leaves the patches with the least noise visible.

    Paper: He et al. 2022, arXiv 2111.06377, section 3, "Simple implementation".

    Shapes:
        noise: `(batch, patches)`.
    """
    order = ops.argsort(noise, axis=1)
    restore = ops.argsort(order, axis=1)
    return Masking(order[:, :num_visible], restore, ops.cast(restore >= num_visible, "float32"))


def take_tokens(tokens: Tensor, indices: Tensor) -> Tensor:
    """Returns tokens of each image, in the order of its indices.

    Shapes:
        tokens: `(batch, tokens, dim)`.
        indices: `(batch, taken)`, int.
        returns: `(batch, taken, dim)`.
    """
    batch, count, dim = ops.shape(tokens)
    rows = ops.reshape(tokens, (-1, dim))  # one gather of whole rows
    first: Any = ops.arange(batch, dtype=indices.dtype)[:, None] * count
    return ops.take(rows, indices + first, axis=0)
