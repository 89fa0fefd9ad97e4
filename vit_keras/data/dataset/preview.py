"""What a notebook shows of the splits of a data set: the classes or targets, and some images."""

from collections.abc import Mapping, Sequence

import numpy as np

from vit_keras.data.dataset.splits import EncodedSplit, Split
from vit_keras.data.images.preprocess import to_image
from vit_keras.data.images.thumbnails import to_data_url
from vit_keras.data.tasks import format_label
from vit_keras.errors import VitKerasError
from vit_keras.reporting.notebook import pictures
from vit_keras.reporting.pages import folded, table
from vit_keras.reporting.text import plural

_IMAGES, _OPEN_ROWS = 12, 12
_SMALL = 64  # px, up to which images are kept without loss

Splits = Mapping[str, Split | EncodedSplit]


def render_labels(splits: Splits, class_names: Sequence[str]) -> str:
    """Returns a table of the images per class and split, or of the range of each target."""
    is_regression = splits["train"].labels.dtype.kind == "f"
    columns = {
        name: (_describe_targets if is_regression else _count_classes)(split, class_names)
        for name, split in splits.items()
    }
    heads = ("target" if is_regression else "class", *columns)
    found = table(heads, list(zip(class_names, *columns.values(), strict=True)), numbers=range(1, len(heads)))
    return found if len(class_names) <= _OPEN_ROWS else folded(plural(len(class_names), "class", "classes"), found)


def _count_classes(split: Split | EncodedSplit, class_names: Sequence[str]) -> list[str]:
    labels = split.labels
    counts = np.bincount(labels, minlength=len(class_names)) if labels.ndim == 1 else labels.sum(axis=0, dtype="int64")
    return [f"{count:,}" for count in counts]


def _describe_targets(split: Split | EncodedSplit, class_names: Sequence[str]) -> list[str]:
    return [f"{values.min():.4g} to {values.max():.4g}, mean {values.mean():.4g}" for values in split.labels.T]


def render_images(split: Split | EncodedSplit, class_names: Sequence[str], *, seed: int) -> str:
    """Returns some images of a split with their labels, drawn by the seed; files that can't be read are left out."""
    found, side = [], 0
    for index in np.random.default_rng(seed).permutation(len(split))[:_IMAGES].tolist():
        try:
            image = to_image(split.picture(index))
        except VitKerasError:  # removed or changed since the data were loaded
            continue
        side = max(side, *image.size)
        url = to_data_url(image, form="png" if max(image.size) <= _SMALL else "jpeg")
        found.append((url, format_label(split.labels[index], class_names)))
    return pictures(found, side=max(side, 1))
