"""Keeps decoded images, in memory or on disk, as fits."""

import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil

from vit_keras.errors import StorageError, VitKerasError
from vit_keras.runtime.cache import cache_folder
from vit_keras.runtime.files import atomic_file

CACHES = ("auto", "memory", "disk", "none")
_LARGEST_IN_MEMORY = 8 * 2**30
_SHARE_OF_MEMORY, _SHARE_OF_DISK = 0.25, 0.5  # of what is free
_HOW_TO_FIX = "Remove it, choose another folder with VIT_KERAS_CACHE, or keep nothing on disk (cache='none')."
_TOGETHER = 32  # images a thread decodes before it takes the next


def kept(
    image: Callable[[int], np.ndarray], shape: tuple[int, int, int, int], *, cache: str, key: bytes
) -> np.ndarray | None:
    """Returns all images as one array, decoded now or found decoded; None where they are not to be kept.

    Args:
        image: Decodes the image of a number.
        shape: Of the array: count, height, width, channels.
        cache: "memory", "disk" (a file in the folder `images` of the cache, mapped), "none", or "auto" for the first that has
            room.
        key: What the images are, as a hash: the same images are found again.

    Raises:
        StorageError: The cache folder can't be read or written.
    """
    where = _with_room(int(np.prod(shape, dtype="int64"))) if cache == "auto" else cache
    if where == "none":
        return None
    if where == "memory":
        return _filled(np.empty(shape, "uint8"), image)
    path = cache_folder() / "images" / f"{key.hex()}.npy"
    try:
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(path, how_to_fix=_HOW_TO_FIX) as unfinished:
                mapped = np.lib.format.open_memmap(unfinished, mode="w+", dtype="uint8", shape=shape)
                _filled(mapped, image)
                mapped.flush()
        images: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except VitKerasError:
        raise
    except (OSError, ValueError) as error:
        raise StorageError(f"{path}: could not be read ({error}). {_HOW_TO_FIX}") from error
    if images.shape != shape or images.dtype != np.uint8:
        raise StorageError(f"{path}: holds {images.dtype} of shape {images.shape}, not uint8 of {shape}. Remove it.")
    return images


def _with_room(needed: int) -> str:
    if needed <= min(_LARGEST_IN_MEMORY, _SHARE_OF_MEMORY * psutil.virtual_memory().available):
        return "memory"
    folder = next(parent for parent in (cache_folder() / "images").parents if parent.exists())
    return "disk" if needed <= _SHARE_OF_DISK * shutil.disk_usage(folder).free else "none"


def _filled(images: np.ndarray, image: Callable[[int], np.ndarray]) -> np.ndarray:
    """Decodes every image into its place, a thread a core: Pillow lets others work while it decodes."""

    def fill(start: int) -> None:
        for index in range(start, min(start + _TOGETHER, len(images))):
            images[index] = image(index)

    threads = ThreadPoolExecutor(os.cpu_count())
    try:
        for _ in threads.map(fill, range(0, len(images), _TOGETHER)):
            pass
    finally:
        threads.shutdown(cancel_futures=True)  # of an error or Ctrl-C, the rest is not waited for
    return images
