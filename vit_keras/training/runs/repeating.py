"""What a run directory was told, and its result computed again."""

from functools import partial
from pathlib import Path
from typing import Any

from vit_keras import data as data_sources
from vit_keras.errors import ResumeError
from vit_keras.evaluation.evaluate import evaluate
from vit_keras.runtime.precision import dtype_policy
from vit_keras.training.runs.directory import RunDirectory
from vit_keras.training.runs.session import load_as_recorded
from vit_keras.zoo.preset_directory import from_preset, load_preprocessing


def evaluate_run(path: str | Path) -> dict[str, Any]:
    """Returns the test accuracy of a finished run, computed again from its model and data.

    Args:
        path: The run directory.

    Returns:
        `test_accuracy`, and `recorded`, what `run.json` says.

    Raises:
        VitKerasError: This is no finished run, its data were not given by name, or are not what they were.
    """
    run = RunDirectory(Path(path))
    record = run.read()
    if record["status"] != "finished":
        raise ResumeError(
            f"{run.path} is not finished; `vit-keras {record['command']} --resume --run-dir {run.path}` goes on with it."
        )
    options = record["options"]
    if "data" not in options:
        raise ResumeError(f"{run.path} was trained on arrays of a program, which alone can repeat it.")
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
            f"The images of {data.name} are not those the run was trained on; the figure can't be repeated."
        )
    with dtype_policy("float32"):
        evaluation = evaluate(from_preset(run.model), data.splits["test"])
    return {"test_accuracy": evaluation.accuracy, "recorded": record["results"]["test_accuracy"]}
