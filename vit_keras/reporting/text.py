"""Names of files and classes as people may read them."""

from html import escape

_MARKUP = set("\\`*_[]|#~$!")


def shown(name: str) -> str:
    r"""Returns a name with what can't be printed spelled out: line breaks, terminal codes, bytes that are no text.

    Args:
        name: A path or a class.

    Example:
        >>> shown("two\nlines.png")
        'two\\nlines.png'
    """
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in name)


def in_markdown(name: str) -> str:
    r"""Returns a name as Markdown may hold it, in a line or in a cell of a table: never markup.

    Args:
        name: A path, a class, anything that others wrote.

    Example:
        >>> in_markdown("a|b <i>*c*")
        'a\\|b &lt;i&gt;\\*c\\*'
    """
    escaped = "".join(f"\\{letter}" if letter in _MARKUP else letter for letter in shown(name))
    return escape(escaped, quote=False)
