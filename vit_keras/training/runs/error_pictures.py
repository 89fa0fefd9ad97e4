"""The section of a report that shows the images with the worst predictions."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from vit_keras.data import EncodedSplit, Split
from vit_keras.data.images.preprocess import to_image
from vit_keras.data.images.thumbnails import to_data_url
from vit_keras.errors import VitKerasError
from vit_keras.reporting.pages import more, picture, section, tag

MAX_PICTURES = 48
_NEAR = 6  # bits of 64 in which the hashes of near-identical images may differ
_MAX_IMAGE_BYTES = 1_900_000
_TINY = 64  # px, up to which images are enlarged without smoothing


def picture_section(
    heading: str, words: str, split: Split | EncodedSplit, items: Iterable[tuple[int, str, str]], *, hidden: int
) -> str:
    """Returns a section of images; each item is an index into the split, a caption, which is HTML, and a title, which is text.

    From a total size on, captions stand without images. `hidden` images are only counted.
    """
    bytes_left, figures = _MAX_IMAGE_BYTES, []
    for index, caption, title in items:
        address = _address(split, index) if bytes_left > 0 else None
        bytes_left -= len(address or "")
        figures.append(tag("figure", picture(address, title) + tag("figcaption", caption)))
    kind = "mistakes tiny" if max(split.image_shape[:2]) <= _TINY else "mistakes"
    content = tag("p", words, "soft lead") + tag("div", "".join(figures), kind)
    return section(heading, tag("div", content, "panel") + more(hidden))


def group_similar(split: Split | EncodedSplit, indices: Sequence[int], labels: np.ndarray) -> list[list[int]]:
    """Returns the indices in groups of near-identical images with the same label, each group at the place of its first.

    Images are compared by perceptual hashes, as duplicates are in `vk.data.check`.
    """
    import imagehash

    groups: list[list[int]] = []
    hashes: list[tuple[int, Any]] = []  # label and hash of the first of each group
    for index in indices:
        try:
            found = imagehash.phash(to_image(split.picture(index)))
        except VitKerasError:  # the file has been removed since the evaluation
            found = None
        label = int(labels[index])
        same = (
            place
            for place, (other, center) in enumerate(hashes)
            if other == label and found is not None and center is not None and found - center <= _NEAR
        )
        place = next(same, None)
        if place is None:
            groups.append([index])
            hashes.append((label, found))
        else:
            groups[place].append(index)
    return groups


def _address(split: Split | EncodedSplit, index: int) -> str | None:
    try:
        pixels = split.picture(index)
    except VitKerasError:  # the file has been removed since the evaluation
        return None
    return to_data_url(to_image(pixels), form="png" if max(pixels.shape[:2]) <= _TINY else "jpeg")
