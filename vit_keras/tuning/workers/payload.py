"""Hypermodel and data of a search, written once and read by each worker process."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from vit_keras.data import ImageData, Split
from vit_keras.data.dataset.mapped_images import MappedImages
from vit_keras.errors import InvalidArgumentError

_FILE = "payload.pickle"
_DATA_FIELDS = ("name", "class_names", "batch_size", "seed", "notes", "decisions", "task")


def pack(hypermodel: Any, data: ImageData, folder: Path, *, epochs: int, seed: int) -> None:
    """Writes the arguments of `TrialTrainer` to a directory that only its owner may write to.

    Arrays of images go to files of their own, which the processes map and share.
    """
    splits = dict(data.splits)
    for name, split in data.splits.items():
        prepared = split.prepared
        if isinstance(prepared, Split):
            _save_images(folder / f"{name}.images.npy", prepared.images)
            np.save(folder / f"{name}.labels.npy", prepared.labels)
            del splits[name]
        else:
            splits[name] = prepared
    fields = {name: getattr(data, name) for name in _DATA_FIELDS}
    content = {
        "hypermodel": hypermodel,
        "epochs": epochs,
        "seed": seed,
        "data": fields,
        "splits": splits,
        "names": list(data.splits),
        "is_packed": data.splits["train"].is_packed,
    }
    try:
        pickled = pickle.dumps(content)
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise InvalidArgumentError(
            f"The hypermodel {type(hypermodel).__name__} cannot be sent to the worker processes ({error}). Define its class at the "
            "top level of a module, and keep no open files, locks or lambdas in it."
        ) from error
    (folder / _FILE).write_bytes(pickled)


def _save_images(path: Path, images: np.ndarray | MappedImages) -> None:
    """Writes an array; images that stay on disk are copied in parts, not through memory as a whole."""
    if not isinstance(images, MappedImages):
        np.save(path, images)
        return
    written = np.lib.format.open_memmap(path, mode="w+", dtype=images.dtype, shape=images.shape)
    first = 0
    for part in images.chunks():
        written[first : first + len(part)] = part
        first += len(part)
    written.flush()


def unpack(folder: Path) -> dict[str, Any]:
    """Returns the arguments that `pack` wrote, with memory-mapped images. Unpickling them can run any code."""
    content: dict[str, Any] = pickle.loads((folder / _FILE).read_bytes())
    splits, names, is_packed = (content.pop(name) for name in ("splits", "names", "is_packed"))
    for name in names:
        if name not in splits:
            images = np.load(folder / f"{name}.images.npy", mmap_mode="r", allow_pickle=False)
            labels = np.load(folder / f"{name}.labels.npy", allow_pickle=False)
            splits[name] = Split(images, labels, is_packed)
    ordered = {name: splits[name] for name in names}
    return {**content, "data": ImageData(splits=ordered, **content["data"])}
