"""Text for people: counts with nouns, and names that are safe in a terminal, in HTML and in Markdown."""

from collections.abc import Mapping
from html import escape
from typing import Any

_MARKUP = set("\\`*_[]|#~$!")
_LISTED = 20  # items of a list


def plural(count: int, noun: str, nouns: str = "") -> str:
    """Returns a count with its noun.

    >>> plural(1, "image"), plural(1200, "image"), plural(0, "class", "classes")
    ('1 image', '1,200 images', '0 classes')
    """
    return f"{count:,} {noun if count == 1 else nouns or noun + 's'}"


def escape_unprintable(name: str) -> str:
    """Escapes characters that can't be printed: line breaks, terminal codes, bytes that are not text."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in name)


def escape_markdown(name: str) -> str:
    r"""Escapes untrusted text for a line or a table cell of Markdown.

    >>> escape_markdown("a|b <i>*c*\n")
    'a\\|b &lt;i&gt;\\*c\\*\\\\n'
    """
    escaped = "".join(f"\\{letter}" if letter in _MARKUP else letter for letter in escape_unprintable(name))
    return escape(escaped, quote=False)


def flatten_values(values: Mapping[str, Any], name: str = "") -> list[tuple[str, str]]:
    """Returns names and formatted values; a nested value gets a dotted name.

    Example:
        >>> flatten_values({"epochs": 10, "augmentation": {"flip_rate": 0.5}, "beta": None})
        [('epochs', '10'), ('augmentation.flip_rate', '0.5'), ('beta', 'none')]
    """
    flat = []
    for key, value in values.items():
        dotted = f"{name}.{key}" if name else str(key)
        if isinstance(value, Mapping):
            flat += flatten_values(value, dotted)
        else:
            flat.append((dotted, _format_value(value)))
    return flat


def _format_value(value: Any) -> str:
    if isinstance(value, list | tuple):
        rest = f" and {len(value) - _LISTED:,} more" if len(value) > _LISTED else ""
        return ", ".join(_format_value(item) for item in value[:_LISTED]) + rest
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    return "none" if value is None else f"{value}"
