"""The order of the classes, which is the order of a model's logits."""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

from vit_keras.data.tasks import default_names
from vit_keras.errors import ClassLayoutError, InvalidArgumentError
from vit_keras.presets.label_sets import names_by_synset
from vit_keras.validation import list_words


def sort_class_names(names: Iterable[str]) -> tuple[str, ...]:
    """Sorts class names by number if all are integers, else as text."""
    names = list(names)
    if all(name.isascii() and name.isdecimal() for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))


def check_class_names(class_names: object) -> tuple[str, ...] | None:
    """Returns class names as a tuple in Unicode form NFC; raises `InvalidArgumentError` for anything but distinct strings."""
    if class_names is None:
        return None
    if (
        isinstance(class_names, str)
        or not isinstance(class_names, Sequence)
        or not all(isinstance(name, str) for name in class_names)
    ):
        raise InvalidArgumentError(f"class_names={class_names!r}: expected a list of strings, one per class.")
    names = tuple(unicodedata.normalize("NFC", name) for name in class_names)
    repeated = sorted(name for name, count in Counter(names).items() if count > 1)
    if repeated:
        raise InvalidArgumentError(f"class_names contains {list_words(repeated)} more than once.")
    return names


def order_classes(found: Iterable[str], given: tuple[str, ...] | None, source: object) -> tuple[str, ...]:
    """Returns the classes in the given order, by default sorted; raises `ClassLayoutError` if the given names are others."""
    if given is None:
        return sort_class_names(found)
    check_same_classes(found, given, source)
    return given


def check_same_classes(found: Iterable[str], given: Iterable[str], source: object) -> None:
    """Raises `ClassLayoutError` unless both have the same names."""
    known, names = set(found), set(given)
    wrong = [
        f"{what}: {list_words(sort_class_names(each))}"
        for what, each in (("names without images", names - known), ("classes without a name", known - names))
        if each
    ]
    if wrong:
        raise ClassLayoutError(
            f"{source}: class_names must list exactly the classes of the images; {'; '.join(wrong)}."
        )


def describe_order(names: tuple[str, ...], given: tuple[str, ...] | None) -> tuple[str, ...]:
    """Returns a sentence about the order of classes if it is not that of text."""
    if names == tuple(sorted(names)):
        return ()
    return ("classes in the order of class_names" if given is not None else "classes in numerical order",)


def rename_classes(class_names: Sequence[str], known: Sequence[str] | None) -> tuple[str, ...]:
    """Returns class names of data as a model with the classes `known` names them: WordNet ids, as ImageNet's folders have, become words."""
    named = set(known or ())
    words = {synset: name for synset, name in names_by_synset(tuple(known or ())).items() if name in named}
    return tuple(words.get(name, name) for name in class_names)


def name_same_classes(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether two lists name the same classes in the same order, perhaps one of them by words and the other by WordNet ids."""
    return rename_classes(one, other) == tuple(other) or rename_classes(other, one) == tuple(one)


def are_numbers(class_names: Sequence[str]) -> bool:
    """Whether the names are just those of arrays without names: label numbers, or "target" of a regression."""
    return tuple(class_names) in (default_names(task, len(class_names)) for task in ("single_label", "regression"))
