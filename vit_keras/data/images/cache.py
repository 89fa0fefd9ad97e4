"""Caches decoded images in memory or on disk, whichever has room."""

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
_HOW_TO_FIX = "Remove it, choose another cache folder with VIT_KERAS_CACHE, or cache nothing (cache='none')."
_IMAGES_PER_TASK = 32


def cache_images(
    decode: Callable[[int], np.ndarray], shape: tuple[int, int, int, int], *, cache: str, key: bytes
) -> np.ndarray | None:
    """Returns all images as one array, decoded now or read from the cache; None if they are not cached.

    `cache` as in `ReadOptions`; `key`, a hash of the images' content, names the memory-mapped file in the cache folder.
    """
    place = _choose_place(int(np.prod(shape, dtype="int64"))) if cache == "auto" else cache
    if place == "none":
        return None
    if place == "memory":
        decoded = np.empty(shape, "uint8")
        _decode_into(decoded, decode)
        return decoded
    path = cache_folder() / "images" / f"{key.hex()}.npy"
    try:
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(path, how_to_fix=_HOW_TO_FIX) as unfinished:
                mapped = np.lib.format.open_memmap(unfinished, mode="w+", dtype="uint8", shape=shape)
                _decode_into(mapped, decode)
                mapped.flush()
        images: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except VitKerasError:
        raise
    except (OSError, ValueError) as error:
        raise StorageError(f"{path}: could not be read ({error}). {_HOW_TO_FIX}") from error
    if images.shape != shape or images.dtype != np.uint8:
        raise StorageError(
            f"{path}: contains {images.dtype} of shape {images.shape}, expected uint8 of {shape}. Remove it."
        )
    return images


def _choose_place(size: int) -> str:
    if size <= min(_LARGEST_IN_MEMORY, _SHARE_OF_MEMORY * psutil.virtual_memory().available):
        return "memory"
    folder = next(parent for parent in (cache_folder() / "images").parents if parent.exists())
    return "disk" if size <= _SHARE_OF_DISK * shutil.disk_usage(folder).free else "none"


def _decode_into(images: np.ndarray, decode: Callable[[int], np.ndarray]) -> None:
    """Decodes every image into its place in one thread per core: Pillow releases Python's lock while it decodes."""

    def fill(start: int) -> None:
        for index in range(start, min(start + _IMAGES_PER_TASK, len(images))):
            images[index] = decode(index)

    threads = ThreadPoolExecutor(os.cpu_count())
    try:
        for _ in threads.map(fill, range(0, len(images), _IMAGES_PER_TASK)):
            pass
    finally:
        threads.shutdown(cancel_futures=True)  # after an error or Ctrl-C, does not wait for the rest
