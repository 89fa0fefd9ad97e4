"""What a search hands to the processes that train: hypermodel and data, written once, read by each."""

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vit_keras.data import ImageData, Split
from vit_keras.errors import InvalidArgumentError

_PARCEL = "parcel.pickle"


@dataclass(frozen=True, kw_only=True, eq=False)
class Parcel:
    """What training a trial needs beside its values.

    Args:
        hypermodel: Makes values into models.
        data: What is trained on.
        epochs: The full horizon.
        seed: Of weights and order.
    """

    hypermodel: Any
    data: ImageData
    epochs: int
    seed: int


def pack(parcel: Parcel, folder: Path) -> None:
    """Writes a parcel into a folder that nobody else writes to, images apart, so that processes share their memory.

    Args:
        parcel: What to write.
        folder: Where to; it exists, and its owner alone may write there.

    Raises:
        InvalidArgumentError: The hypermodel can't be handed to another process.
    """
    splits = dict(parcel.data.splits)
    for name, split in parcel.data.splits.items():
        prepared = split.prepared
        if isinstance(prepared, Split):
            np.save(folder / f"{name}.images.npy", prepared.images)
            np.save(folder / f"{name}.labels.npy", prepared.labels)
            del splits[name]
        else:
            splits[name] = prepared
    names = ("name", "class_names", "batch_size", "seed", "notes", "decisions")
    fields = {item: getattr(parcel.data, item) for item in names}
    content = {
        "hypermodel": parcel.hypermodel,
        "epochs": parcel.epochs,
        "seed": parcel.seed,
        "data": fields,
        "splits": splits,
    }
    try:
        written = pickle.dumps(content)
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise InvalidArgumentError(
            f"The hypermodel {type(parcel.hypermodel).__name__} can't be handed to the processes that train ({error}). Define its class "
            "in a module of its own, at the top level, and keep no open files, locks or lambdas in it."
        ) from error
    (folder / _PARCEL).write_bytes(written)


def unpack(folder: Path) -> Parcel:
    """Returns the parcel that `pack` wrote, images mapped.

    Args:
        folder: One that this search made: what is read is a pickle, which runs what its writer wants.
    """
    content = pickle.loads((folder / _PARCEL).read_bytes())
    splits = content["splits"]
    for name in ("train", "validation", "test"):
        if name not in splits:
            images = np.load(folder / f"{name}.images.npy", mmap_mode="r", allow_pickle=False)
            splits[name] = Split(images, np.load(folder / f"{name}.labels.npy", allow_pickle=False))
    data = ImageData(splits={name: splits[name] for name in ("train", "validation", "test")}, **content["data"])
    return Parcel(hypermodel=content["hypermodel"], data=data, epochs=content["epochs"], seed=content["seed"])
