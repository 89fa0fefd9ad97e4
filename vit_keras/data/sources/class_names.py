"""The order of classes, which is the order of a model's logits."""

import unicodedata
from collections.abc import Iterable, Sequence

from vit_keras.errors import ClassLayoutError, InvalidArgumentError


def in_natural_order(names: Iterable[str]) -> tuple[str, ...]:
    """Returns class names sorted: by number where all are whole numbers, else as text.

    Args:
        names: The names.

    Example:
        >>> in_natural_order(["10", "0", "2"]), in_natural_order(["10", "2", "cat"])
        (('0', '2', '10'), ('10', '2', 'cat'))
    """
    names = list(names)
    if all(name.isascii() and name.isdecimal() for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))


def checked_names(class_names: object) -> tuple[str, ...] | None:
    """Returns class names as the caller gave them.

    Raises:
        InvalidArgumentError: They are no different words.
    """
    if class_names is None:
        return None
    if (
        isinstance(class_names, str)
        or not isinstance(class_names, Sequence)
        or not all(isinstance(name, str) for name in class_names)
    ):
        raise InvalidArgumentError(f"class_names={class_names!r}: expected a sequence of words, one a class.")
    names = tuple(unicodedata.normalize("NFC", name) for name in class_names)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InvalidArgumentError(f"class_names has {twice} more than once.")
    return names


def ordered(found: Iterable[str], given: tuple[str, ...] | None, place: object) -> tuple[str, ...]:
    """Returns the classes of a source in the order that was given, or in natural order.

    Args:
        found: The classes there are.
        given: The same names in the order wanted; None for natural order.
        place: Where they are, for messages.

    Raises:
        ClassLayoutError: A given name has no images, or images have no name among them.
    """
    names = in_natural_order(found)
    if given is None:
        return names
    check_complete(names, given, place)
    return given


def decided_order(names: tuple[str, ...], given: tuple[str, ...] | None) -> tuple[str, ...]:
    """Returns the order of classes in words where it is not that of text.

    Args:
        names: The classes in order.
        given: As they were given, if they were.
    """
    if names == tuple(sorted(names)):
        return ()
    return ("classes in the order of class_names" if given is not None else "classes in the order of their numbers",)


def check_complete(found: Iterable[str], given: Iterable[str], place: object) -> None:
    """Raises `ClassLayoutError` where names and classes are not the same.

    Args:
        found: The classes there are images of.
        given: The names.
        place: Where the images are, for messages.
    """
    known, names = set(found), set(given)
    wrong = [
        f"{what}: {list(in_natural_order(each))}"
        for what, each in (("names without images", names - known), ("images without a name", known - names))
        if each
    ]
    if wrong:
        raise ClassLayoutError(
            f"{place}: class_names has to name each class of the images and no other. {'; '.join(wrong)}."
        )


def are_numbers(class_names: Sequence[str]) -> bool:
    """Whether classes are named by their numbers alone, as those of arrays are.

    Args:
        class_names: In the order of the labels.

    Example:
        >>> are_numbers(["0", "1"]), are_numbers(["1", "0"])
        (True, False)
    """
    return tuple(class_names) == tuple(map(str, range(len(class_names))))
