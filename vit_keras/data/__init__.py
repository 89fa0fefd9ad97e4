"""Images and labels, from wherever they are, checked, as fast batches."""

from typing import TYPE_CHECKING

from vit_keras.runtime.lazy import names_of

if TYPE_CHECKING:
    from vit_keras.data.augment.augmentation import Augmentation as Augmentation
    from vit_keras.data.dataset.image_data import ImageData as ImageData
    from vit_keras.data.dataset.splits import EncodedSplit as EncodedSplit
    from vit_keras.data.dataset.splits import Split as Split
    from vit_keras.data.doctor.checkup import check as check
    from vit_keras.data.images.preprocess import Preprocessing as Preprocessing
    from vit_keras.data.images.preprocess import preset_preprocessing as preset_preprocessing
    from vit_keras.data.images.read_options import ReadOptions as ReadOptions
    from vit_keras.data.loading import load as load

_HOMES = {
    "Augmentation": "data.augment.augmentation",
    "EncodedSplit": "data.dataset.splits",
    "ImageData": "data.dataset.image_data",
    "ReadOptions": "data.images.read_options",
    "Preprocessing": "data.images.preprocess",
    "Split": "data.dataset.splits",
    "check": "data.doctor.checkup",
    "load": "data.loading",
    "preset_preprocessing": "data.images.preprocess",
}
"""Public names, and the module of this package that has each; loaded when first used, so that checking files needs no Keras."""

__all__ = sorted(_HOMES)


__getattr__ = names_of(__name__, _HOMES)


def __dir__() -> list[str]:
    return [*__all__]
