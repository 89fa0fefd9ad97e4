"""The classes of ImageNet by number, in the order of the outputs of published checkpoints. See IMAGENET-ATTRIBUTION.md."""

import functools
import gzip
import re
from collections import Counter
from importlib.resources import files

from vit_keras.errors import InvalidArgumentError
from vit_keras.validation import list_words

LABEL_SETS = {
    "imagenet-1k": 1000,
    "imagenet-12k": 11_821,
    "imagenet-21k": 21_843,
    "imagenet-22k": 21_841,
    "imagenet-21k-miil": 11_221,
}
"""Number of classes by label set, under timm's names: ILSVRC 2012; timm's subset; Google's; the release of fall 2011; that of Ridnik et al.
2021 (arXiv 2104.10972)."""

TABLE = "imagenet.tsv.gz"
_DATASETS = {"in1k": 1000, "in12k": 11_821, "in21k": 21_843, "in22k": 21_841}
_SUFFIX = re.compile(r"(?:^|_)(in\d+k)$")


def find_label_set(num_classes: int | None, tag: str | None) -> str | None:
    """Returns the label set of a checkpoint's head, given its tag, which ends in the data that it was trained on last; None for others.

    Without a tag, the number of classes decides alone.

    >>> find_label_set(1000, "augreg_in21k_ft_in1k"), find_label_set(11_221, "in21k"), find_label_set(1000, "my_birds")
    ('imagenet-1k', 'imagenet-21k-miil', None)
    """
    by_count = {count: name for name, count in LABEL_SETS.items()}
    found = by_count.get(num_classes or 0)
    if tag is None or found is None:
        return found
    ends = _SUFFIX.search(tag)
    if ends is None:
        return None
    same_data = _DATASETS.get(ends[1]) == num_classes or (ends[1], found) == ("in21k", "imagenet-21k-miil")
    return found if same_data else None


@functools.cache
def label_names(label_set: str) -> tuple[str, ...]:
    """Returns the class names of a label set by number: the words of WordNet, with the synset's id where several synsets have the same.

    >>> label_names("imagenet-1k")[:2], label_names("imagenet-1k")[134]
    (('tench, Tinca tinca', 'goldfish, Carassius auratus'), 'crane (n02012849)')
    """
    rows = _read_rows(label_set)
    counts = Counter(words for _, words in rows)
    return tuple(words if counts[words] == 1 else f"{words} ({synset})" for synset, words in rows)


@functools.cache
def label_synsets(label_set: str) -> tuple[str, ...]:
    """Returns the WordNet ids of a label set's classes by number: the names of the folders of ImageNet.

    >>> label_synsets("imagenet-1k")[:2]
    ('n01440764', 'n01443537')
    """
    return tuple(synset for synset, _ in _read_rows(label_set))


def names_by_synset(classes: tuple[str, ...]) -> dict[str, str]:
    """Returns the class names of a label set by WordNet id, given all its class names or ids in order; empty for any other classes.

    >>> names_by_synset(label_synsets("imagenet-1k"))["n01440764"]
    'tench, Tinca tinca'
    >>> names_by_synset(("cat", "dog"))
    {}
    """
    for label_set, count in LABEL_SETS.items():
        if len(classes) == count and classes in (label_names(label_set), label_synsets(label_set)):
            return dict(zip(label_synsets(label_set), label_names(label_set), strict=True))
    return {}


def _read_rows(label_set: str) -> list[tuple[str, str]]:
    if label_set not in LABEL_SETS:
        raise InvalidArgumentError(f"There is no label set {label_set!r}: expected one of {list_words(LABEL_SETS)}.")
    place = str(list(LABEL_SETS).index(label_set))
    return [(synset, words) for synset, places, words in _read_table() if place in places]


@functools.cache
def _read_table() -> tuple[tuple[str, ...], ...]:
    text = gzip.decompress((files("vit_keras") / "presets" / TABLE).read_bytes()).decode()
    return tuple(tuple(line.split("\t")) for line in text.split("\n"))
