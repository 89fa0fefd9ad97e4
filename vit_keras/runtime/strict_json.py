"""JSON as checkpoints may hold it: UTF-8, every name once, every number a number."""

import json
from collections import Counter
from typing import Any

from vit_keras.errors import CorruptFileError


def parse_json(content: bytes, where: object) -> Any:
    """Returns what a JSON text says.

    Args:
        content: The text, UTF-8.
        where: The file, or the part of it, for the message.

    Raises:
        CorruptFileError: It is not JSON, nested too deep, or holds a name twice or a number such as NaN.

    Example:
        >>> parse_json(b'{"format": 1}', "config.json")
        {'format': 1}
    """

    def once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values = dict(pairs)
        if len(values) < len(pairs):  # one would hide the other
            name, _ = Counter(name for name, _ in pairs).most_common(1)[0]
            raise CorruptFileError(f"{where}: {name!r} stands twice; expected each name once.")
        return values

    def refuse(literal: str) -> None:
        raise ValueError(f"{literal} is no number there")

    try:
        return json.loads(content.decode(), object_pairs_hook=once_each, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise CorruptFileError(f"{where}: not JSON ({error}).") from error
