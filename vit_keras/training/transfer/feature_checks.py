"""Checks features and labels before anything is fitted to them."""

from typing import Any

import numpy as np

from vit_keras.errors import DataError, EmptyDatasetError, InvalidArgumentError, LabelError


def check_features(features: Any, what: str, *, dim: int | None = None) -> np.ndarray:
    """Returns features as an array of finite numbers."""
    array = np.asarray(features)
    if array.dtype.kind not in "fiu" or array.ndim != 2:
        raise DataError(
            f"The {what} must be numbers of shape (count, dim), one row per image; got {array.dtype} of shape {array.shape}. "
            "extract_features(model, split) makes them."
        )
    if not array.size:
        raise EmptyDatasetError(f"The {what} are empty, of shape {array.shape}; at least one image is needed.")
    if dim is not None and array.shape[1] != dim:
        raise DataError(
            f"The {what} have width {array.shape[1]}, expected {dim}. Take all features from the same model."
        )
    bad = np.flatnonzero(~np.isfinite(array).all(axis=1))
    if bad.size:
        raise DataError(
            f"The {what} are not finite (NaN or infinity) in {bad.size} of {len(array)} rows, the first {bad[0]}. Check the weights, or "
            "compute the features in float32 instead of float16."
        )
    return array


def check_labels(labels: Any, what: str, *, count: int, num_classes: int) -> np.ndarray:
    """Returns labels as an int64 array of class indices."""
    if type(num_classes) is not int or num_classes < 2:
        raise InvalidArgumentError(f"num_classes must be an integer of at least 2, got {num_classes!r}.")
    array = np.asarray(labels)
    if array.dtype.kind not in "iu" or array.shape != (count,):
        raise LabelError(
            f"The {what} must be {count} integers, one per image; got {array.dtype} of shape {array.shape}."
        )
    bad = np.flatnonzero((array < 0) | (array >= num_classes))
    if bad.size:
        raise LabelError(
            f"The {what} must be class indices from 0 to {num_classes - 1}; {bad.size} of {count} are not, the first {array[bad[0]]} at "
            f"position {bad[0]}."
        )
    return array.astype("int64")
