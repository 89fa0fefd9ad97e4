"""Text for people: counts with nouns, and names that are safe in a terminal, in HTML and in Markdown."""

from html import escape

_MARKUP = set("\\`*_[]|#~$!")


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
