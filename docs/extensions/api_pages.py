"""Pages of the public names: one for each package that lists public names, taken from its docstrings."""

import inspect
from importlib import import_module
from types import ModuleType
from typing import Any

from vit_keras.training.recipes import PublishedRecipe

TITLES = {  # of the packages with public names
    "vit_keras": "Models, training and use",
    "vit_keras.data": "Data",
    "vit_keras.layers": "Layers",
    "vit_keras.training": "Training",
    "vit_keras.training.recipes": "Recipes in Python",
    "vit_keras.pretraining": "Pre-training",
    "vit_keras.tuning": "Tuning",
    "vit_keras.explain": "Explaining",
    "vit_keras.exporting": "Results of an export",
    "vit_keras.weights": "Weights",
    "vit_keras.errors": "Errors",
}


def list_public(module: ModuleType) -> list[str]:
    """Returns a package's public names but modules, in the order in which they are listed."""
    names = getattr(module, "__all__", None) or [name for name in vars(module) if _is_own(module, name)]
    return [name for name in names if not inspect.ismodule(getattr(module, name))]


def _is_own(module: ModuleType, name: str) -> bool:
    value = getattr(module, name)
    return not name.startswith("_") and getattr(value, "__module__", None) == module.__name__


def make_pages() -> dict[str, str]:
    """Returns the pages by file name."""
    indexed = set[int]()  # what two packages list is an entry of the index once
    return {f"{name}.rst": _make_page(name, import_module(name), indexed) for name in TITLES}


def _make_page(name: str, module: ModuleType, indexed: set[int]) -> str:
    title = TITLES[name]
    lines = [
        title,
        "=" * len(title),
        "",
        f".. py:currentmodule:: {name}",
        "",
        inspect.getdoc(module).splitlines()[0],
        "",
    ]
    for public in list_public(module):
        value = getattr(module, public)
        lines += [*_document(f"{name}.{public}", value), *(["   :no-index:"] if id(value) in indexed else []), ""]
        indexed.add(id(value))
    return "\n".join(lines)


def _document(path: str, value: Any) -> list[str]:
    if inspect.isclass(value):
        return [f".. autoclass:: {path}", "   :members:"]
    if inspect.isroutine(value):
        return [f".. autofunction:: {path}"]
    if isinstance(value, PublishedRecipe):
        return [
            f".. py:function:: {path.rpartition('.')[2]}(model, data, *, epochs=None, **changes)",
            "",
            *_indent(value.summary),
        ]
    names = "" if isinstance(value, str) else ", ".join(value)
    return [f".. py:data:: {path.rpartition('.')[2]}", "", *_indent(names)]


def _indent(text: str) -> list[str]:
    return [f"   {line}" for line in text.splitlines()]
