"""`load`: finds a data set by its name, folder or object, and reads it."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vit_keras.data.class_names import check_class_names
from vit_keras.data.dataset.holdout import check_rates
from vit_keras.data.dataset.image_data import ImageData, check_arguments
from vit_keras.data.images.preprocess import Preprocessing
from vit_keras.data.images.read_options import ReadOptions
from vit_keras.data.shards.shard_files import find_shards, name_shards
from vit_keras.data.sources.arrays import is_in_memory, read_arrays
from vit_keras.data.sources.builtin import BUILTIN_NAMES, read_builtin
from vit_keras.data.sources.folder import read_folder
from vit_keras.data.sources.pixel_range import BYTES, check_range
from vit_keras.data.sources.tfds import check_name, find_builder, read_tfds
from vit_keras.data.tables.list_tables import are_tables
from vit_keras.data.tables.options import TableOptions
from vit_keras.data.tasks import check_task
from vit_keras.errors import DataError, InvalidArgumentError

_TFDS = "tfds:"
_LARGEST_BATCH = 64


def load(
    source: Any,
    *,
    image_size: int | tuple[int, int] | None = None,
    preprocessing: Preprocessing | None = None,
    channels: int | None = None,
    class_names: Sequence[str] | None = None,
    batch_size: int | None = None,
    limit: int | None = None,
    seed: int = 0,
    split: tuple[float, float] = (0.1, 0.1),
    task: str = "auto",
    image_dir: str | Path | None = None,
    image_column: str | None = None,
    label_column: str | Sequence[str] | None = None,
    label_separator: str = "|",
    contained: bool = False,
    reading: ReadOptions | None = None,
    pixel_range: str | tuple[float, float] = "auto",
    on_progress: Callable[[int, int], None] | None = None,
) -> ImageData:
    """Loads images and labels from any source, as training, validation and test split.

    Args:
        source: One of

            - "emoji", the embedded set: 8 groups of emoji in five drawing styles for training and a sixth for the test
            - "digits", scikit-learn's 1,797 handwritten digits of 8 px, which need no network
            - "mnist", "fashion_mnist", "cifar10" or "cifar100", which `keras.datasets` downloads
            - a folder with a folder of images per class, or with folders "train", "validation" and "test" of these; "./emoji" is a folder
            - a table of image files, labels and perhaps splits: a CSV, TSV, JSON lines or Parquet file, a data frame of pandas or polars,
              or one table per split, such as {"train": "a.csv", "test": "b.csv"}; a folder with such tables
            - shards: tar files of WebDataset, TFRecord files or Parquet files with images inside: a file, a pattern such as
              "shards-{0000..0099}.tar", a list of these, one of these per split, or a folder
            - a TensorFlow Datasets name, such as "tfds:oxford_iiit_pet", or builder
            - arrays `(images, labels)`, where labels may be class names, a `tf.data.Dataset` or `keras.utils.PyDataset` of such pairs, or a mapping of splits to these
        image_size: Height and width, px, or one integer for a square; by default the images' own, which image files don't have.
        preprocessing: In place of `image_size` and `channels`: also crop and interpolation (`preset_preprocessing`).
        channels: 3 for color, 1 for gray; by default 3 for image files, and the images' own otherwise.
        class_names: Class names in the order of a model's logits; for arrays, of the labels 0, 1, .... By default sorted, integers by value.
        batch_size: Images per batch; by default 64, or fewer where an epoch would have fewer than 6 steps.
        limit: Maximum number of images per split, drawn by the seed; by default all. Of 10,000 image files or more, only as many are
            decoded as that needs.
        seed: Random seed of the splits, the limit, and the order of the training images.
        split: Fractions of each class for validation and test, if the source has no such splits; (0.1, 0) for no test split. A class of one
            or two images is used for training only.
        task: What the labels mean: "single_label", one class per image; "multi_label", any number of classes, as 0/1 columns or as names
            in a cell; "regression", one or more numbers. "auto" finds it from the labels, and `decisions` says so.
        image_dir: Of a table: the folder that relative paths start from; by default the table's own.
        image_column: Of a table: the name of the column of image files; by default found by its name or content. Without a header, columns
            are named "1", "2" and so on.
        label_column: Of a table: the name of the column of labels, or the names of several: classes as 0 and 1, or numbers to predict.
        label_separator: Of a table: what stands between several class names in a cell.
        contained: Of a table: whether files outside `image_dir` or the table's folder are refused.
        reading: How to treat unreadable files and links, and where to cache decoded images.
        pixel_range: Black and white in arrays, such as (0, 1), and in gray image files with more than 8 bits or floating-point pixels. "auto"
            recognizes 0..255 and 0..1 in arrays, or raises; in files it is 0..65535. uint8 is always 0..255.
        on_progress: Called with the number of files checked and of all files, when a folder is read for the first time.

    Raises:
        DataError: The source does not exist or can't be used.
        InvalidArgumentError: An argument is not legal, or contradicts another.

    Example:
        >>> data = load("emoji", batch_size=32)
        >>> data.sizes
        {'train': 5552, 'validation': 616, 'test': 1629}
    """
    size = _check_size(image_size, preprocessing, channels)
    check_arguments(
        "load",
        limit=limit,
        channels=channels,
        batch_size=_LARGEST_BATCH if batch_size is None else batch_size,
        seed=seed,
    )
    stated = check_range(pixel_range)
    rates, reading, names = check_rates(split), reading or ReadOptions(), check_class_names(class_names)
    tables = TableOptions(
        image_dir=image_dir,
        image_column=image_column,
        label_column=label_column,
        label_separator=label_separator,
        contained=contained,
        task=check_task(task),
    )

    def choose_preprocessing(own_channels: int) -> Preprocessing | None:
        if preprocessing is not None or size is None:
            return preprocessing
        return Preprocessing(image_size=size, channels=channels or own_channels)

    is_builtin = isinstance(source, str) and source in BUILTIN_NAMES
    found = None if is_builtin else find_files(source)
    if tables.stated and found is None:
        raise InvalidArgumentError(f"{', '.join(tables.stated)}: only for tables of image files. Leave it out.")
    if found is None and is_in_memory(source):
        data = read_arrays(
            source,
            preprocessing=choose_preprocessing(3),
            class_names=names,
            rates=rates,
            seed=seed,
            limit=limit,
            pixel_range=pixel_range,
            task=task,
            label_separator=label_separator,
        )
    elif found is None and stated not in (None, BYTES):
        raise InvalidArgumentError(f"pixel_range={pixel_range!r}: the images of {source} are 0..255. Drop it.")
    elif is_builtin:
        data = read_builtin(source, seed)
    elif found is None:
        data = read_tfds(
            _find_builder(source),
            choose_preprocessing=choose_preprocessing,
            rates=rates,
            seed=seed,
            limit=limit,
            reading=reading,
        )
    elif (chosen := choose_preprocessing(3)) is None:
        raise DataError(f"{source}: image files need an image size; pass image_size, such as image_size=224.")
    else:
        data = read_folder(
            found,
            preprocessing=chosen if stated is None else chosen.replace(pixel_range=stated),
            rates=rates,
            seed=seed,
            reading=reading,
            class_names=names,
            tables=tables,
            limit=limit,
            on_progress=on_progress,
        )
    if task not in ("auto", data.task):
        raise InvalidArgumentError(f"task={task!r}: the labels of {data.name} are {data.task}; leave out task.")
    if names is not None and names != data.class_names:
        data = data.reorder_classes(names)
    data = replace(data, seed=seed)
    if limit is not None:
        data = data.limit(limit)
    data = data.fit_batch_size(_LARGEST_BATCH) if batch_size is None else replace(data, batch_size=batch_size)
    height, width, own_channels = data.image_shape
    return data.resize(
        preprocessing or Preprocessing(image_size=size or (height, width), channels=channels or own_channels)
    )


def check_exists(source: str) -> None:
    """Raises `DataError` where a source is neither a path that exists nor a known name; nothing is read."""
    found, builtin = find_files(source), list(BUILTIN_NAMES)
    if name_shards(source):
        find_shards(source, {})
        return
    if isinstance(found, Path) and not found.exists():
        raise DataError(f"{source}: there is no such folder or file.")
    if found is None and source not in builtin:
        check_name(source.removeprefix(_TFDS), builtin)


def _check_size(image_size: Any, preprocessing: Any, channels: int | None) -> tuple[int, int] | None:
    if isinstance(image_size, Preprocessing):
        raise InvalidArgumentError(f"image_size={image_size!r}: pass it as preprocessing=...")
    if preprocessing is not None:
        if not isinstance(preprocessing, Preprocessing):
            raise InvalidArgumentError(f"preprocessing={preprocessing!r}: expected a vk.data.Preprocessing.")
        for name, value in (("image_size", image_size), ("channels", channels)):
            if value is not None:
                raise InvalidArgumentError(
                    f"{name}={value!r} and preprocessing are both given: drop {name}, since the preprocessing has its own, "
                    f"{getattr(preprocessing, name)!r}."
                )
    if image_size is None:
        return None
    sides = (image_size, image_size) if isinstance(image_size, int) else image_size
    if (
        not isinstance(sides, tuple | list)
        or len(sides) != 2
        or any(type(side) is not int or side < 1 for side in sides)
    ):
        raise DataError(f"image_size={image_size!r}: expected a positive integer or (height, width), px.")
    return (sides[0], sides[1])


def _find_builder(source: Any) -> Any:
    if isinstance(source, str):
        return find_builder(source.removeprefix(_TFDS), list(BUILTIN_NAMES))
    if not hasattr(source, "as_dataset"):
        raise DataError(
            f"source is {type(source).__name__}: expected a name, a folder, a table, arrays (images, labels), a data set, or a builder of "
            "TensorFlow Datasets."
        )
    return source


def find_files(source: Any) -> Any:
    """Returns the folder, shards or tables that a source names; None for a name or a builder of TensorFlow Datasets."""
    if isinstance(source, Path):
        return source.expanduser()
    if isinstance(source, str):
        is_path = (
            source.startswith((".", "/", "~"))
            or "\\" in source
            or are_tables(source)
            or name_shards(source)
            or (source != "" and Path(source).is_dir())
        )
        return Path(source).expanduser() if is_path and not source.startswith(_TFDS) else None
    if are_tables(source) or name_shards(source):
        return source
    if type(source).__name__ == "ImageFolder" and getattr(source, "data_dir", None) is not None:
        return Path(source.data_dir).expanduser()  # a builder of TensorFlow Datasets over a folder of images
    return None
