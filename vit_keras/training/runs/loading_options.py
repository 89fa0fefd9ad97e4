"""The options of `vk.data.load` that a run records: those of tables, and the task."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True, kw_only=True)
class LoadingOptions:
    """How the labels and the tables of a run were read; None for the defaults of `vk.data.load`."""

    task: str | None = None
    image_dir: str | None = None
    image_column: str | None = None
    label_column: str | list[str] | None = None
    label_separator: str | None = None
    contained: bool | None = None


def find_load_keywords(options: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the keywords of `vk.data.load` among a run's options.

    >>> find_load_keywords({"label_column": ["age"], "task": None, "epochs": 3})
    {'label_column': ['age']}
    """
    return {each.name: options[each.name] for each in fields(LoadingOptions) if options.get(each.name) is not None}
