"""Parts images into training, validation and test, where a source does not."""

import numpy as np

from vit_keras.errors import DataError, InvalidArgumentError
from vit_keras.validation import is_number


def hold_out(
    labels: np.ndarray,
    class_names: tuple[str, ...],
    *,
    seed: int,
    rate: float = 0.1,
    copies_of: np.ndarray | None = None,
) -> np.ndarray:
    """Returns which images are held out, as a mask: `rate` of each class, one at least, drawn by seed.

    Args:
        labels: `(count,)`, indices into the class names.
        class_names: What they mean.
        seed: Decides which.
        rate: Fraction of each class.
        copies_of: `(count,)`, equal numbers for equal images of a class, which stay on one side together.

    Raises:
        DataError: A class has one image or none.
    """
    rng = np.random.default_rng(seed)
    chosen = np.zeros(len(labels), dtype=bool)
    for label, name in enumerate(class_names):
        members = np.flatnonzero(labels == label)
        if len(members) < 2:
            raise DataError(f"Class {name!r} has {len(members)} images; it needs two, to hold one out.")
        first = members if copies_of is None else members[np.unique(copies_of[members], return_index=True)[1]]
        if len(first) < 2:  # copies of one image: there is nothing to keep apart
            first = members
        drawn = rng.permutation(first)[: min(max(1, round(rate * len(members))), len(first) - 1)]
        chosen[drawn] = True
        if copies_of is not None and len(first) < len(members):
            chosen[members] |= np.isin(copies_of[members], copies_of[drawn])
    return chosen


def parted(
    labels: np.ndarray,
    class_names: tuple[str, ...],
    missing: tuple[str, ...],
    *,
    rates: tuple[float, float],
    seed: int,
    copies_of: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Returns the places of training images, and of those held out for the splits that are missing.

    Args:
        labels: `(count,)`, indices into the class names, of all images that may be trained on.
        class_names: What they mean.
        missing: "test", "validation", both or none.
        rates: Fractions of each class held out for validation and for the test.
        seed: Decides which.
        copies_of: As for `hold_out`.

    Raises:
        DataError: A class has too few images.
    """
    words = {1: "one, to train", 2: "two, to train and to hold one out", 3: "three, to train, validate and test"}
    for label, name in enumerate(class_names):
        count = int((labels == label).sum())
        if count < 1 + len(missing):
            raise DataError(f"Class {name!r} has {count} readable images; it needs {words[1 + len(missing)]}.")
    places = {"train": np.arange(len(labels))}
    left = 1.0
    for name, rate in (("test", rates[1]), ("validation", rates[0])):
        if name not in missing:
            continue
        kept = places["train"]
        held = hold_out(
            labels[kept],
            class_names,
            seed=seed,
            rate=rate / left,
            copies_of=None if copies_of is None else copies_of[kept],
        )
        places["train"], places[name] = kept[~held], kept[held]
        left -= rate
    return places


def checked_rates(split: object) -> tuple[float, float]:
    """Returns the fractions held out for validation and test.

    Raises:
        InvalidArgumentError: They are not two fractions that leave something to train on.
    """
    if (
        not isinstance(split, tuple | list)
        or len(split) != 2
        or not all(is_number(rate) and 0 < rate < 1 for rate in split)
        or sum(split) >= 1
    ):
        raise InvalidArgumentError(
            f"split={split!r}: expected two fractions above 0, for validation and test, that leave some images to train on, as "
            "(0.1, 0.1)."
        )
    return (split[0], split[1])
