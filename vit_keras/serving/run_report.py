"""What a served model is called, and the report of the run that trained it."""

from pathlib import Path

from vit_keras.errors import StorageError
from vit_keras.reporting.text import escape_unprintable
from vit_keras.training.runs.directory import RunDirectory
from vit_keras.zoo.find_model import find_model


def find_name(model: str) -> str:
    """Returns the name of a model: that of its run, directory, file, or preset.

    >>> find_name("vit_small_patch16_224:dino")
    'vit_small_patch16_224:dino'
    """
    path = find_model(model).path
    if path is None:
        return model
    run = _find_run(path)
    return escape_unprintable((run.path if run else path).resolve().name)


def find_report(model: str) -> bytes | None:
    """Returns the report of the run that a model is from, as HTML; None where there is none."""
    path = find_model(model).path
    run = _find_run(path) if path is not None else None
    if run is None or not run.report.is_file():
        return None
    try:
        return run.report.read_bytes()
    except OSError as error:
        raise StorageError(f"{run.report}: could not be read ({error}).") from error


def _find_run(model: Path) -> RunDirectory | None:
    """Returns the run whose model is in a directory."""
    run = RunDirectory(model.parent)
    return run if model.name == run.model.name and run.record_file.is_file() else None
