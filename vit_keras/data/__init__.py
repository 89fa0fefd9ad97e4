"""Images and labels, from wherever they are, checked, as fast batches."""

from typing import TYPE_CHECKING

from vit_keras.lazy import names_of

if TYPE_CHECKING:
    from vit_keras.data.augmentation import Augmentation as Augmentation
    from vit_keras.data.checkup import check as check
    from vit_keras.data.dataset import ImageData as ImageData
    from vit_keras.data.reading import Reading as Reading
    from vit_keras.data.resizing import Resizing as Resizing
    from vit_keras.data.resizing import resizing_of as resizing_of
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
    "check": "checkup",
    "load": "sources",
    "resizing_of": "resizing",
}
"""Public names, and the module of this package that has each; loaded when first used, so that checking files needs no Keras."""

__all__ = sorted(_HOMES)


__getattr__ = names_of(__name__, _HOMES)


def __dir__() -> list[str]:
    return [*__all__]
