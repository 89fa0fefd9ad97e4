"""Computes the result of a finished run again."""

from functools import partial
from pathlib import Path
from typing import Any

from vit_keras import data as data_sources
from vit_keras.errors import ResumeError
from vit_keras.evaluation.evaluate import evaluate
from vit_keras.runtime.precision import dtype_policy
from vit_keras.training.runs.directory import RunDirectory
from vit_keras.training.runs.resuming import load_as_recorded
from vit_keras.zoo.from_preset import from_preset
from vit_keras.zoo.preset_directory import load_preprocessing


def evaluate_run(path: str | Path) -> dict[str, Any]:
    """Returns the test accuracy of a finished run, computed again from its model and data.

    Args:
        path: The run directory.

    Returns:
        `test_accuracy` (or `validation_accuracy` of a run without a test split), and `recorded`, the value in `run.json`.

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
    if "data" not in options:
        raise ResumeError(f"{run.path} was trained on data of a Python program, which must evaluate the model itself.")
    load = partial(
        data_sources.load,
        options["data"],
        preprocessing=load_preprocessing(run.model),
        batch_size=options["batch_size"],
        limit=options["limit"],
        seed=options["seed"],
    )
    data = load_as_recorded(lambda names: load(class_names=names), run)
    if data.fingerprint != record["data"]["fingerprint"]:
        raise ResumeError(
            f"The images of {data.name} have changed since {run.path} was trained, so its result cannot be repeated."
        )
    with dtype_policy("float32"):
        evaluation = evaluate(from_preset(run.model), data.splits[data.evaluation_split])
    name = f"{data.evaluation_split}_accuracy"
    return {name: evaluation.accuracy, "recorded": record["results"][name]}
