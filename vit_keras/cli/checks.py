"""Checks of arguments that need no Keras, so that a mistake is reported before anything slow starts."""

from collections.abc import Callable, Sequence
from pathlib import Path

from vit_keras.cli.backend import announce
from vit_keras.cli.options import DATA_SETS
from vit_keras.errors import InvalidArgumentError, StorageError, VitKerasError
from vit_keras.validation import closest, list_words


def check_all(*checks: Callable[[], object]) -> None:
    """Calls every check, and raises the error of the one that failed, or one `InvalidArgumentError` with all messages."""
    errors = []
    for check in checks:
        try:
            check()
        except VitKerasError as error:
            errors.append(error)
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise InvalidArgumentError("\n".join(map(str, errors)))


def check_recipe(name: str | None, *, known: Sequence[str] = ()) -> None:
    """Raises `InvalidArgumentError` where a recipe is unknown; "auto" is none, but chooses one.

    `known` are the names to choose from, by default those of training and fine-tuning.
    """
    from vit_keras.training.recipes import RECIPES

    if name is not None and name not in ("auto", *(known or RECIPES)):
        raise InvalidArgumentError(
            f"There is no recipe {name!r}; the closest are {list_words(closest(name, known or RECIPES))}. `vit-keras recipes` shows all."
        )


def check_source(source: str | None) -> None:
    """Raises `DataError` where a path does not exist; or a name is unknown."""
    if source is not None:
        from vit_keras.data.loading import check_exists

        if source not in DATA_SETS and not Path(source).exists():
            announce(f"looking for {source}")
        check_exists(source)


def check_run_dir(run_dir: Path | None, *, resume: bool, overwrite: bool) -> None:
    """Raises where a run directory is neither free, nor to be replaced, nor holds the run to resume."""
    from vit_keras.training.runs.directory import RunDirectory

    if resume and overwrite:
        raise InvalidArgumentError("--resume continues a run and --overwrite replaces it: give one of them.")
    if resume and run_dir is None:
        raise InvalidArgumentError("--resume needs --run-dir DIR, the directory of the run to resume.")
    if run_dir is not None and resume:
        RunDirectory(run_dir).read()
    elif run_dir is not None and not overwrite:
        RunDirectory(run_dir).check_free()


def check_precision(precision: str | None) -> None:
    """Raises `InvalidArgumentError` where a precision is unknown."""
    from vit_keras.runtime.precision import PRECISIONS

    if precision not in (None, *PRECISIONS):
        raise InvalidArgumentError(f"--precision must be one of {', '.join(PRECISIONS)}, got {precision!r}.")


def check_numbers(*, seed: int | None = None, **numbers: int | None) -> None:
    """Raises `InvalidArgumentError` with all numbers below 1 and a seed that is none; None was not given."""
    wrong = [
        f"--{name.replace('_', '-')} must be at least 1, got {number}"
        for name, number in numbers.items()
        if number is not None and number < 1
    ]
    if seed is not None and not 0 <= seed < 2**31:
        wrong.append(f"--seed must be from 0 to {2**31 - 1}, got {seed}")
    if wrong:
        raise InvalidArgumentError(f"{'; '.join(wrong)}.")


def check_image_paths(images: list[str]) -> None:
    """Raises where none of the paths of images exists; patterns, addresses and stdin are looked at later.

    Raises:
        InvalidArgumentError: A model stands in their place.
        StorageError: There are no such files.
    """
    from vit_keras.presets import find_name

    is_plain = not any(image == "-" or "://" in image or set("*?[{") & set(image) for image in images)
    if is_plain and not any(Path(image).exists() for image in images):
        if find_name(images[0]) is not None:
            raise InvalidArgumentError(
                f"{images[0]} is a model and no image: the model is named first, then the images."
            )
        raise StorageError(f"{images[0]}: there is no such file or folder.")
