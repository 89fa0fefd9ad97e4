"""Computes the result of a finished run again."""

from functools import partial
from pathlib import Path
from typing import Any

from vit_keras import data as data_sources
from vit_keras.errors import ResumeError
from vit_keras.evaluation.evaluate import evaluate
from vit_keras.runtime.precision import dtype_policy
from vit_keras.training.runs.directory import RunDirectory
from vit_keras.training.runs.loading_options import find_load_keywords
from vit_keras.training.runs.resuming import load_as_recorded
from vit_keras.zoo.from_preset import from_preset
from vit_keras.zoo.preset_directory import load_preprocessing


def evaluate_run(path: str | Path) -> dict[str, Any]:
    """Returns the first test metric of a finished run, such as the accuracy, computed again from its model and data.

    Args:
        path: The run directory.

    Returns:
        `test_accuracy`, or the first metric of another task, and `recorded`, its value in `run.json`.

    Raises:
        VitKerasError: The run is not finished, or its data were not given by name or have changed.
    """
    run = RunDirectory(Path(path))
    record = run.read()
    if record["status"] != "finished":
        raise ResumeError(
            f"{run.path} is not finished; resume it with `vit-keras {record['command']} --resume --run-dir {run.path}`."
        )
    options = record["options"]
    if options.get("data") is None:
        raise ResumeError(f"{run.path} was trained on data of a Python program, which must evaluate the model itself.")
    load = partial(
        data_sources.load,
        options["data"],
        preprocessing=load_preprocessing(run.model),
        limit=options.get("limit"),
        seed=options.get("seed") or 0,
        **find_load_keywords(options),
    )
    data = load_as_recorded(lambda names: load(class_names=names), run)
    if data.fingerprint != record["data"]["fingerprint"]:
        raise ResumeError(
            f"The images of {data.name} have changed since {run.path} was trained, so its result cannot be repeated."
        )
    with dtype_policy("float32"):
        evaluation = evaluate(from_preset(run.model), data.splits["test"])
    metric, value = next(iter(evaluation.summary().items()))
    return {f"test_{metric}": value, "recorded": record["results"][f"test_{metric}"]}
