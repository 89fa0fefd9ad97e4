"""What features and their labels must be before anything is fitted to them."""

from typing import Any

import numpy as np

from vit_keras.errors import DataError, EmptyDatasetError, InvalidArgumentError, LabelError


def checked_features(features: Any, what: str, *, dim: int | None = None) -> np.ndarray:
    """Returns features as an array, once they are known to be finite numbers of one width.

    Args:
        features: `(count, dim)`, a row an image.
        what: What a message calls them.
        dim: Width they must have; None for any.

    Raises:
        EmptyDatasetError: There are none.
        DataError: They are of another shape or no numbers.

    Example:
        >>> checked_features([[1.0, 2.0]], "training features").shape
        (1, 2)
    """
    array = np.asarray(features)
    if array.dtype.kind not in "fiu" or array.ndim != 2:
        raise DataError(
            f"The {what} must be numbers of shape (count, dim), a row an image; these are {array.dtype} of shape {array.shape}. "
            "extract_features(model, split) makes them."
        )
    if not array.size:
        raise EmptyDatasetError(f"The {what} are empty, of shape {array.shape}; at least one image is needed.")
    if dim is not None and array.shape[1] != dim:
        raise DataError(
            f"The {what} are {array.shape[1]} wide where {dim} was expected. Take all features from the same model."
        )
    bad = np.flatnonzero(~np.isfinite(array).all(axis=1))
    if bad.size:
        raise DataError(
            f"The {what} hold numbers that are not finite (NaN or infinity) in {bad.size} of {len(array)} rows, the first {bad[0]}. Look "
            "for broken weights, or compute them in float32 where float16 was too small."
        )
    return array


def checked_labels(labels: Any, what: str, *, count: int, num_classes: int) -> np.ndarray:
    """Returns labels as an int64 array, once each is known to be an index of a class.

    Args:
        labels: `(count,)`, whole numbers.
        what: What a message calls them.
        count: How many there must be.
        num_classes: Classes.

    Raises:
        LabelError: They are no whole numbers, not as many, or out of range.
        InvalidArgumentError: There are fewer than two classes.

    Example:
        >>> checked_labels([0, 2], "training labels", count=2, num_classes=3)
        array([0, 2])
    """
    if type(num_classes) is not int or num_classes < 2:
        raise InvalidArgumentError(f"num_classes={num_classes!r} is not a whole number of 2 or more.")
    array = np.asarray(labels)
    if array.dtype.kind not in "iu" or array.shape != (count,):
        raise LabelError(
            f"The {what} must be {count} whole numbers, one an image; these are {array.dtype} of shape {array.shape}."
        )
    bad = np.flatnonzero((array < 0) | (array >= num_classes))
    if bad.size:
        raise LabelError(
            f"The {what} are no index into {num_classes} classes (0 to {num_classes - 1}) in {bad.size} of {count} places: the first is "
            f"{array[bad[0]]} in place {bad[0]}."
        )
    return array.astype("int64")
