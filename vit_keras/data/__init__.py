"""Images and labels, from wherever they are, as fast batches."""

from vit_keras.data.augmentation import Augmentation
from vit_keras.data.dataset import ImageData, Split
from vit_keras.data.sources import load

__all__ = ["Augmentation", "ImageData", "Split", "load"]
