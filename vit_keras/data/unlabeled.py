"""`load_unlabeled`: images for pre-training, from any source, with a part held out to validate the loss."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from vit_keras.data.dataset.image_data import ImageData, check_arguments
from vit_keras.data.dataset.joining import join_splits
from vit_keras.data.dataset.splits import EncodedSplit, Split
from vit_keras.data.doctor.duplicates import find_near_duplicates
from vit_keras.data.doctor.findings import BLANK, find_odd_looks
from vit_keras.data.images.preprocess import Preprocessing
from vit_keras.data.images.read_options import ReadOptions
from vit_keras.data.loading import find_files, load
from vit_keras.data.scan.image_listing import list_images
from vit_keras.data.scan.limiting import limit_listing
from vit_keras.data.scan.listing import Listing, list_with_clear_labels
from vit_keras.data.scan.manifest import Manifest
from vit_keras.data.shards.list_shards import list_shards
from vit_keras.data.shards.shard_files import find_shards, name_source
from vit_keras.data.sources.builtin import BUILTIN_NAMES
from vit_keras.data.sources.folder import list_files, open_listing
from vit_keras.data.sources.image_arrays import is_labeled_pair, read_image_arrays
from vit_keras.data.sources.tfds import find_builder, read_tfds
from vit_keras.data.split_names import SPLITS
from vit_keras.data.tables.list_tables import are_tables, list_tables
from vit_keras.data.tables.options import TableOptions
from vit_keras.data.tasks import UNLABELED, describe_count
from vit_keras.errors import DataError, InvalidArgumentError
from vit_keras.reporting.text import plural

HELD_OUT_RATE, MOST_HELD_OUT = 0.05, 1000
"""Fraction of the images that validates the loss, and its maximum number."""
_TFDS = "tfds:"
_READ_ALL = (0.05, 0.0)  # fractions for `load`, whose training and validation images are joined here
_OUT_OF_PLACE = ("in no class folder", "a folder next to the split folders")  # reasons of a labeled listing


def load_unlabeled(
    source: Any,
    *,
    preprocessing: Preprocessing,
    batch_size: int | None = None,
    limit: int | None = None,
    seed: int = 0,
    image_dir: str | Path | None = None,
    image_column: str | None = None,
    label_column: str | Sequence[str] | None = None,
    label_separator: str = "|",
    contained: bool = False,
    reading: ReadOptions | None = None,
    pixel_range: str | tuple[float, float] = "auto",
    on_progress: Callable[[int, int], None] | None = None,
) -> ImageData:
    """Loads images for pre-training, whose labels are not needed: training images, and a part held out to validate the loss.

    Of images that are exact copies, one is used. One image in 20, at most 1,000, is held out. Test images of the source are left out, so
    that a model that is fine-tuned later can be tested on them. Where all images have labels, `class_names` and the labels are those,
    for measures such as kNN accuracy; else the task is "unlabeled". `decisions` says what was found.

    Args:
        source: What `load` takes, or the same without labels: a folder with images at any depth, a list of folders and files, a table or
            text file of paths, arrays `(count, height, width, channels)`, a `tf.data.Dataset` or `PyDataset` of images, a mapping of
            splits to these, a TensorFlow Datasets name or builder; or an `ImageData`.
        preprocessing: Size and channels of the images, such as `preset_preprocessing("vit_tiny_patch16_224")`.
        batch_size: Images per batch; by default up to 64.
        limit: Maximum number of training images, drawn by the seed; by default all.
        seed: Random seed of the images held out, the limit and the order.
        image_dir: Of a table, as for `load`, as the next four are.
        image_column: Name of the column of image files.
        label_column: Name of the column of labels, or several names.
        label_separator: What stands between several class names in a cell.
        contained: Whether files outside `image_dir` or the table's folder are refused.
        reading: How to treat unreadable files and links; images whose shorter side is below its `min_side` are left out, or of arrays refused.
        pixel_range: As for `load`.
        on_progress: Called with the number of files checked and of all files.

    Raises:
        DataError: The source does not exist, can't be used, or has fewer than two different images.
        InvalidArgumentError: An argument is not legal.

    Example:
        >>> import numpy as np
        >>> images = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), "uint8")
        >>> data = load_unlabeled(images, preprocessing=Preprocessing(image_size=(32, 32)))
        >>> data.sizes, data.task
        ({'train': 38, 'validation': 2}, 'unlabeled')
    """
    if not isinstance(preprocessing, Preprocessing):
        raise InvalidArgumentError(f"preprocessing={preprocessing!r}: expected a vk.data.Preprocessing.")
    check_arguments(
        "load_unlabeled", limit=limit, seed=seed, **({} if batch_size is None else {"batch_size": batch_size})
    )
    reading = reading or ReadOptions()
    tables = TableOptions(
        image_dir=image_dir,
        image_column=image_column,
        label_column=label_column,
        label_separator=label_separator,
        contained=contained,
    )
    files = None if isinstance(source, ImageData) else _find_files(source)
    if tables.stated and files is None:
        raise InvalidArgumentError(f"{', '.join(tables.stated)}: only for tables of image files. Leave it out.")
    if isinstance(source, ImageData):
        data = source
    elif files is not None:
        data = _read_files(files, preprocessing, reading, tables, seed=seed, limit=limit, on_progress=on_progress)
    elif isinstance(source, str) or hasattr(source, "as_dataset"):
        data = _read_named(source, preprocessing, reading, seed=seed, limit=limit)
    else:
        data = _read_arrays(source, preprocessing, reading, seed=seed, limit=limit, pixel_range=pixel_range)
    data = _hold_out(data.resize(preprocessing), seed)
    if limit is not None and limit < len(data.splits["train"]):
        data = replace(data, splits={**data.splits, "train": data.limit(limit).splits["train"]})
    return data.fit_batch_size(64) if batch_size is None else replace(data, batch_size=batch_size)


def _find_files(source: Any) -> Any:
    """Returns a table, or the list of folders and files that a source names; None for anything else."""
    if isinstance(source, str) and source in BUILTIN_NAMES:
        return None
    if isinstance(source, list | tuple) and source and all(isinstance(each, str | os.PathLike) for each in source):
        return _find_files(source[0]) if len(source) == 1 else [Path(each).expanduser() for each in source]
    found = find_files(source)
    return [found] if isinstance(found, Path) and not are_tables(source) else found


def _read_files(
    files: Any,
    preprocessing: Preprocessing,
    reading: ReadOptions,
    tables: TableOptions,
    *,
    seed: int,
    limit: int | None,
    on_progress: Callable[[int, int], None] | None,
) -> ImageData:
    listing, name = _list(files, reading, tables), name_source(files)
    if limit is not None:
        listing = limit_listing(listing, limit=limit, rates=(1 - HELD_OUT_RATE,), seed=seed)
    manifest, whole = open_listing(listing, preprocessing, reading, on_progress=on_progress)
    places = {split: np.flatnonzero(manifest.splits == number) for number, split in enumerate(SPLITS)}
    places["train"] = np.flatnonzero(manifest.splits <= 0)
    splits = {split: whole.subset(chosen) for split, chosen in places.items() if len(chosen)}
    if "train" not in splits:
        raise DataError(f"{name}: there are no training images.")
    left_out = [(item.path, item.reason) for item in manifest.quarantined]
    return ImageData(
        name=name,
        class_names=manifest.class_names,
        splits={**splits, "validation": splits.get("validation", splits["train"])},
        seed=seed,
        notes=tuple(f"{manifest.root / path}: {reason}" for path, reason in [*left_out, *manifest.skipped]),
        task=manifest.task,
        decisions=(*manifest.decisions, *manifest.describe_left_out(), *_describe_looks(manifest)),
    )


def _list(files: Any, reading: ReadOptions, tables: TableOptions) -> Listing:
    """Returns all images of shards, tables or folders; with their labels, where these are clear."""
    given = files[0] if isinstance(files, list) and len(files) == 1 else files
    shards = find_shards(given, reading.splits)
    if shards is None:
        if not are_tables(files):
            return _list_folders(files, reading, tables)
        list_rows = partial(list_tables, files, options=tables, splits=reading.splits)
    else:
        list_rows = partial(list_shards, shards, options=tables, splits=reading.splits)
    return list_with_clear_labels(list_rows, required=bool(tables.label_columns))


def _list_folders(folders: list[Path], reading: ReadOptions, tables: TableOptions) -> Listing:
    """Returns all images of folders; with their labels, where one folder gives labels to all of them."""
    found = list_images(folders, follow_links=reading.follow_links)
    labeled = None
    if len(folders) == 1 and folders[0].is_dir():
        try:
            labeled = list_files(folders[0], reading, tables=tables)
        except DataError:
            if tables.stated:
                raise
    test = SPLITS.index("test")
    if labeled is None or ((found.splits == test).any() and not (labeled.splits == test).any()):
        return found  # no labels, or "train" and "test" taken for classes
    is_complete = not any(reason in _OUT_OF_PLACE for _, reason in labeled.skipped)
    if is_complete and len(labeled.paths) >= len(found.paths):
        return labeled
    text = f"{len(labeled.paths):,} of {len(found.paths):,} images are labeled by folders or a table: these labels are not used"
    return replace(found, decisions=(*found.decisions, text))


def _describe_looks(manifest: Manifest) -> tuple[str, ...]:
    """Returns what the data doctor finds in images without regard to labels: near-duplicates, odd sizes, blank images."""
    columns = manifest.columns
    groups = find_near_duplicates(columns.phash, columns.sha256, columns.contrast >= BLANK)
    found = [finding.text.rstrip(".") for finding in find_odd_looks(manifest)]
    if groups:
        found.insert(
            0, f"{sum(map(len, groups)):,} images in {plural(len(groups), 'group')} of near-duplicates: all are used"
        )
    return tuple(found)


def _read_named(
    source: Any, preprocessing: Preprocessing, reading: ReadOptions, *, seed: int, limit: int | None
) -> ImageData:
    if isinstance(source, str) and source in BUILTIN_NAMES:
        return load(source, preprocessing=preprocessing, seed=seed, split=_READ_ALL)
    builder = source
    if isinstance(source, str):
        builder = find_builder(source.removeprefix(_TFDS), list(BUILTIN_NAMES))
    return read_tfds(
        builder,
        choose_preprocessing=lambda own_channels: preprocessing,
        rates=_READ_ALL,
        seed=seed,
        limit=limit,
        reading=reading,
        needs_labels=False,
    )


def _read_arrays(
    source: Any,
    preprocessing: Preprocessing,
    reading: ReadOptions,
    *,
    seed: int,
    limit: int | None,
    pixel_range: Any,
) -> ImageData:
    _check_sides(source, reading.min_side)
    parts = list(source.values()) if isinstance(source, Mapping) else [source]
    ignored: tuple[str, ...] = ()
    if all(map(_has_labels, parts)):
        try:
            return load(
                source,
                preprocessing=preprocessing,
                seed=seed,
                limit=limit,
                split=_READ_ALL,
                pixel_range=pixel_range,
            )
        except DataError as error:
            ignored = (f"the labels can't be used and are ignored: {str(error).splitlines()[0]}",)
        pairs = {name: part[0] if is_labeled_pair(part) else part for name, part in _name_parts(source).items()}
        source = pairs if isinstance(source, Mapping) else pairs["train"]
    data = read_image_arrays(source, preprocessing=preprocessing, seed=seed, limit=limit, pixel_range=pixel_range)
    return replace(data, decisions=(*data.decisions, *ignored))


def _name_parts(source: Any) -> Mapping[str, Any]:
    return source if isinstance(source, Mapping) else {"train": source}


def _has_labels(part: Any) -> bool:
    """Whether a part is a pair of images and labels, or a `tf.data.Dataset` of such pairs."""
    spec = getattr(part, "element_spec", None)
    if spec is not None:
        return isinstance(spec, tuple) and len(spec) == 2
    return is_labeled_pair(part)


def _check_sides(source: Any, min_side: int) -> None:
    """Raises `DataError` for arrays of images that are too small."""
    for name, part in _name_parts(source).items():
        images = part[0] if is_labeled_pair(part) else part
        shape: tuple[int, ...] = tuple(getattr(images, "shape", ()))
        if len(shape) in (3, 4) and min(shape[1:3]) < min_side:
            raise DataError(
                f"{name}: images of {shape[1]}x{shape[2]} px are too small: each side must have {min_side} px."
            )


def _hold_out(data: ImageData, seed: int) -> ImageData:
    """Returns distinct images, some of which are the validation split, and no test images."""
    own = data.splits["train"], data.splits["validation"]
    whole = own[0] if own[1] is own[0] else join_splits(own)
    _, firsts = np.unique(np.frombuffer(b"".join(whole.hashes()), "V32"), return_index=True)
    if len(firsts) < 2:
        what = (
            "there is one image"
            if len(whole) == 1
            else f"all {len(whole):,} images are equal, such as {_name_first(whole)}"
        )
        raise DataError(f"{data.name}: {what}, and pre-training needs different ones. Add images.")
    count = min(max(1, round(HELD_OUT_RATE * len(firsts))), MOST_HELD_OUT)
    order = np.random.default_rng(seed).permutation(np.sort(firsts))
    decisions = [f"{plural(count, 'image')} of {len(firsts):,} held out, to validate the loss"]
    if len(firsts) < len(whole):
        decisions.insert(0, f"exact copies left out: {len(whole) - len(firsts):,} of {len(whole):,} images")
    if "test" in data.splits:
        decisions.append(f"test images left out: {len(data.splits['test']):,}")
    if data.task != UNLABELED:
        labels = describe_count(data.task, len(data.class_names))
        decisions.append(f"the labels ({labels}) are not learned; they only measure the features")
    return replace(
        data,
        splits={"train": whole.subset(np.sort(order[count:])), "validation": whole.subset(np.sort(order[:count]))},
        seed=seed,
        decisions=(*data.decisions, *decisions),
    )


def _name_first(split: Split | EncodedSplit) -> str:
    return split.files.name(0) if isinstance(split, EncodedSplit) else "the first"
