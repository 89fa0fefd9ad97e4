"""Computes the result of a finished run again."""

from functools import partial
from pathlib import Path
from typing import Any

from vit_keras import data as data_sources
from vit_keras.data.dataset.folds import make_folds
from vit_keras.errors import ResumeError
from vit_keras.evaluation.evaluate import evaluate
from vit_keras.evaluation.joining import join_evaluations
from vit_keras.runtime.precision import dtype_policy
from vit_keras.training.runs.directory import RunDirectory
from vit_keras.training.runs.resuming import find_load_keywords, load_as_recorded
from vit_keras.zoo.from_preset import from_preset
from vit_keras.zoo.preset_directory import load_preprocessing


def evaluate_run(path: str | Path) -> dict[str, Any]:
    """Returns the first test metric of a finished run, such as the accuracy, computed again from its model and data.

    Args:
        path: The run directory.

    Returns:
        `test_accuracy`, or the first metric of another task, and `recorded`, its value in `run.json`; of a run without a test split, of the
        validation images, such as `validation_accuracy`.

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
        **({"split": options["split"]} if options.get("split") else {}),
        **{**find_load_keywords(options), "task": record["data"].get("task", "auto")},
    )
    data = load_as_recorded(lambda names: load(class_names=names), run)
    folds = make_folds(data, record["folds"]) if record.get("folds") else None
    if (data if folds is None else folds.whole).fingerprint != record["data"]["fingerprint"]:
        raise ResumeError(
            f"The images of {data.name} have changed since {run.path} was trained, so its result cannot be repeated."
        )
    with dtype_policy("float32"):
        if folds is None:
            evaluation = evaluate(from_preset(run.model), data.splits[data.evaluation_split])
        else:
            models = [run.folds / f"{number + 1}" / run.model.name for number in range(len(folds.parts))]
            pairs = zip(models, folds.parts, strict=True)
            evaluation = join_evaluations([evaluate(from_preset(model), part.splits["test"]) for model, part in pairs])
    metric, value = next(iter(evaluation.summary().items()))
    name = f"{'test' if folds is not None else data.evaluation_split}_{metric}"
    return {name: value, "recorded": record["results"][name]}
