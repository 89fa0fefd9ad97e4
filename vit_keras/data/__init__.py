"""Images and labels, from wherever they are, checked, as fast batches."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vit_keras.data.augmentation import Augmentation as Augmentation
    from vit_keras.data.dataset import ImageData as ImageData
    from vit_keras.data.reading import Reading as Reading
    from vit_keras.data.resizing import Resizing as Resizing
    from vit_keras.data.sources import load as load
    from vit_keras.data.splits import EncodedSplit as EncodedSplit
    from vit_keras.data.splits import Split as Split

_HOMES = {
    "Augmentation": "augmentation",
    "EncodedSplit": "splits",
    "ImageData": "dataset",
    "Reading": "reading",
    "Resizing": "resizing",
    "Split": "splits",
    "load": "sources",
}
"""Public names, and the module of this package that has each; loaded when first used, so that checking files needs no Keras."""

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'vit_keras.data' has no attribute {name!r}")
    value = getattr(import_module(f"vit_keras.data.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__]
