"""Finds the prefix that a file puts in front of a model's tensor names, such as "model." or "teacher.backbone."."""

import re
from collections.abc import Sequence
from functools import lru_cache

from vit_keras.errors import InvalidArgumentError
from vit_keras.validation import list_words
from vit_keras.weights.mappings.tables import Table, parent_prefixes

# Of several models in a file, the one that is evaluated and published: averaged weights; in MoCo, the trained encoder.
_PREFERRED = re.compile(r"(?:^|[._/])(?:ema|teacher|target_encoder|base_encoder|encoder_q)(?:[._/]|$)")


@lru_cache(maxsize=4)  # a load asks several times for the same file
def find_prefixes(names: tuple[str, ...], tables: tuple[Table, ...]) -> dict[str, list[Table]]:
    """Returns the prefix of each model in a file, with the tables that describe its names, in their order."""
    found: dict[str, list[Table]] = {}
    for table in tables:
        sign = re.compile(rf"(?<![^./])(?:{'|'.join(table.signs)})$")
        begins = {name[: match.start()] for name in names for match in [sign.search(name)] if match is not None}
        begins = {"", *(parent for start in begins for parent in (start, *parent_prefixes(start)))}
        accepted: list[str] = []
        for start in sorted(begins, key=lambda start: (len(start), start)):
            inside = [name.removeprefix(start) for name in names if name.startswith(start)]
            is_known = re.fullmatch(table.prefixes, start) is not None
            if is_known and table.fits(inside) and all(_fits_without(table, names, outer, start) for outer in accepted):
                accepted.append(start)
        for start in accepted:
            found.setdefault(start, []).append(table)
    return found


def _fits_without(table: Table, names: Sequence[str], outer: str, inner: str) -> bool:
    """Whether the names below an outer prefix are those of a model even without the ones below an inner prefix."""
    if not inner.startswith(outer):
        return True
    rest = [name.removeprefix(outer) for name in names if name.startswith(outer) and not name.startswith(inner)]
    return table.fits(rest)


def choose_prefix(found: Sequence[str], wanted: str | None, *, path: object) -> str:
    """Returns one of the prefixes in a file: the wanted one, the only one, or that of averaged weights."""
    if wanted is not None:
        chosen = [start for start in found if start.rstrip("./") == wanted.rstrip("./")]
        chosen = chosen or [start for start in found if wanted and start.startswith(f"{wanted.rstrip('./')}.")]
        if len(chosen) != 1:
            raise InvalidArgumentError(
                f"{path}: prefix={wanted!r} is not that of one model; the prefixes of models in the file are {list_words(map(repr, found))}."
            )
        return chosen[0]
    if len(found) == 1:
        return found[0]
    preferred = [start for start in found if _PREFERRED.search(start)]
    if len(preferred) != 1:
        raise InvalidArgumentError(
            f"{path}: several models are in the file: choose one, by prefix= one of {list_words(map(repr, found))}."
        )
    return preferred[0]
