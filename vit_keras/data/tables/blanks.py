"""Whether the cells of a text table may have blanks around them, which readers strip."""

from typing import Any

_BLANKS = "\t\v\f\x1c\x1d\x1e\x1f"


def may_have_blanks(text: str | bytes, delimiter: str) -> bool:
    """Returns whether there may be a blank at the start or end of a cell, of a table as text or as bytes."""
    convert: Any = str.encode if isinstance(text, bytes) else str
    if not text.isascii() or any(convert(blank) in text for blank in _BLANKS if blank != delimiter):
        return True
    blank, edges = convert(" "), (f" {delimiter}", f"{delimiter} ", " \n", "\n ")
    at_end = text.startswith(blank) or text.endswith(blank)
    return blank in text and (at_end or any(convert(edge) in text for edge in edges))
