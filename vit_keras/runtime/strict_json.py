"""Strict JSON for untrusted files: UTF-8, unique names, finite numbers."""

import json
from collections import Counter
from typing import Any

from vit_keras.errors import CorruptFileError


def parse_json(content: bytes, where: object) -> Any:
    """Returns the value of a JSON text; raises `CorruptFileError` also for deep nesting, a repeated name, NaN and Infinity."""

    def check_unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values = dict(pairs)
        if len(values) < len(pairs):
            name, _ = Counter(name for name, _ in pairs).most_common(1)[0]
            raise CorruptFileError(f"{where}: {name!r} appears twice; expected each name once.")
        return values

    def refuse(literal: str) -> None:
        raise ValueError(f"{literal} is not a JSON number")

    try:
        return json.loads(content.decode(), object_pairs_hook=check_unique, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise CorruptFileError(f"{where}: not JSON ({error}).") from error
