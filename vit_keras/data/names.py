"""Names of files and classes as people may read them."""


def shown(name: str) -> str:
    r"""Returns a name with what can't be printed spelled out: line breaks, terminal codes, bytes that are no text.

    Args:
        name: A path or a class.

    Example:
        >>> shown("two\nlines.png")
        'two\\nlines.png'
    """
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in name)
