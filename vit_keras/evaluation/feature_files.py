"""Writes the features of any number of images to a file: `vk.save_features`."""

import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from vit_keras.data import Preprocessing
from vit_keras.data.sources.pixel_range import PixelScale
from vit_keras.errors import DataError
from vit_keras.evaluation.batches import Batch, BatchOptions, run_batches
from vit_keras.evaluation.images import list_images
from vit_keras.evaluation.placed_model import PlacedModel
from vit_keras.evaluation.row_files import PARQUET, check_new_file, write_rows
from vit_keras.models.architecture import IMAGES
from vit_keras.models.keras_model import VisionTransformer
from vit_keras.models.wiring import read_model
from vit_keras.runtime.files import atomic_file
from vit_keras.zoo.load_model import open_model

NPZ = ".npz"
SUFFIXES = (NPZ, PARQUET)


@dataclass(frozen=True, kw_only=True)
class FeatureFile:
    """A file of features.

    Args:
        path: The file.
        count: Number of images.
        failed: Number of images that could not be read, whose features are NaN.
        feature_dim: Width of the features.
    """

    path: Path
    count: int
    failed: int
    feature_dim: int


def save_features(
    model: keras.Model | str | Path,
    images: Any,
    *,
    out: str | Path,
    preprocessing: Preprocessing | None = None,
    pixel_range: str | tuple[float, float] = "auto",
    batch_size: int = 64,
    on_error: str = "quarantine",
    on_progress: Callable[[int, int], None] | None = None,
) -> FeatureFile:
    """Writes the features of images, the input of the last dense layer; memory does not grow with the number of images.

    An `.npz` file holds four arrays with a row per image, which `numpy.load` reads: `features` (float32), `images` (paths), `labels`
    (of a list, else the name of the folder) and `errors` (empty, or why the image could not be read; its features are NaN). A
    `.parquet` file has the columns image, label, error and features, which are null where an image could not be read.

    Args:
        model: A model of this library, or what `vk.load_model` takes: a run directory, a preset's `NAME:TAG`, a preset directory, a
            `.keras` file; with a head or without.
        images: As for `vk.predict`.
        out: The file to write, which must not exist: a name that ends in .npz or .parquet.
        preprocessing: As for `vk.predict`.
        pixel_range: As for `vk.predict`.
        batch_size: Images per step.
        on_error: As for `vk.predict`.
        on_progress: Called with the number of images done and of all images.

    Raises:
        InvalidArgumentError: An argument is not legal.
        StorageError: The file exists, or can't be written; nothing of it is left.
        DataError: A feature is not finite.

    Example:
        >>> import tempfile
        >>> from vit_keras import ViTConfig, vit
        >>> config = ViTConfig(image_size=16, patch_size=8, hidden_dim=16, num_layers=1, num_heads=2, mlp_dim=32)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     saved = save_features(vit(config), np.zeros((3, 20, 30, 3), "uint8"), out=folder + "/features.npz")
        ...     np.load(saved.path)["features"].shape
        (3, 16)
    """
    path, scale = Path(out), PixelScale(pixel_range)
    check_new_file(path, SUFFIXES)
    opened = open_model(model)
    parts = read_model(opened.model)
    extractor = VisionTransformer(parts.tensors[IMAGES], parts.features, name=f"{opened.model.name}_features")
    options = BatchOptions(
        preprocessing=preprocessing or opened.preprocessing, scale=scale, batch_size=batch_size, on_error=on_error
    )
    inputs, dim = list_images(images), int(extractor.output_shape[-1])
    writer = _parquet if path.suffix.lower() == PARQUET else _npz
    failed = done = 0
    with writer(path, len(inputs), dim) as write:
        for batch in run_batches(PlacedModel(model=extractor), inputs, options):
            read = np.array([error is None for error in batch.errors])
            _check_finite(batch, read)
            features = batch.outputs.astype("float32")
            features[~read] = np.nan
            write(batch, features)
            done, failed = done + len(read), failed + int((~read).sum())
            if on_progress is not None:
                on_progress(done, len(inputs))
    return FeatureFile(path=path, count=len(inputs), failed=failed, feature_dim=dim)


def _check_finite(batch: Batch, read: np.ndarray) -> None:
    wrong = np.flatnonzero(read & ~np.isfinite(batch.outputs).all(axis=1))
    if wrong.size:
        raise DataError(
            f"The features of {batch.images[wrong[0]].name} are not finite (NaN or infinity): the model's weights are broken, or its "
            "precision is too narrow; try float32."
        )


_Write = Callable[[Batch, np.ndarray], None]


@contextmanager
def _npz(path: Path, count: int, dim: int) -> Iterator[_Write]:
    texts: dict[str, list[str]] = {"images": [], "labels": [], "errors": []}
    with atomic_file(path) as unfinished, zipfile.ZipFile(unfinished, "w") as archive:
        with archive.open("features.npy", "w", force_zip64=True) as entry:
            header = {"descr": "<f4", "fortran_order": False, "shape": (count, dim)}
            np.lib.format.write_array_header_1_0(entry, header)

            def write(batch: Batch, features: np.ndarray) -> None:
                entry.write(np.ascontiguousarray(features, "<f4").tobytes())
                texts["images"] += [image.name for image in batch.images]
                texts["labels"] += [image.labels[0] if image.labels else "" for image in batch.images]
                texts["errors"] += ["" if error is None else str(error) for error in batch.errors]

            yield write
        for name, values in texts.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, np.array(values, dtype=str), allow_pickle=False)


@contextmanager
def _parquet(path: Path, count: int, dim: int) -> Iterator[_Write]:
    columns = {"image": "string", "label": "string", "error": "string", "features": "list<float>"}
    with write_rows(path, columns) as write_row:

        def write(batch: Batch, features: np.ndarray) -> None:
            for image, error, row in zip(batch.images, batch.errors, features, strict=True):
                write_row(
                    {
                        "image": image.name,
                        "label": image.labels[0] if image.labels else None,
                        "error": None if error is None else str(error),
                        "features": row if error is None else None,
                    }
                )

        yield write
