"""`vit-keras train`, `finetune`, `evaluate` and `predict`."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras
import numpy as np
import typer
from rich.console import Console

from vit_keras.cli.output import complain, err, out, print_json, printable
from vit_keras.data.images.decode import read_image
from vit_keras.errors import InvalidArgumentError, VitKerasError
from vit_keras.evaluation.evaluate import probabilities
from vit_keras.models.vit import model_num_classes
from vit_keras.runtime.devices import devices
from vit_keras.training.preset_runs import FinetuningOptions, TrainingOptions, finetune_preset, train_preset
from vit_keras.training.runs.directory import RunDirectory
from vit_keras.training.runs.repeating import evaluate_run
from vit_keras.training.runs.resuming import recorded_options
from vit_keras.training.runs.session import TrainingInterrupted, TrainingResult
from vit_keras.zoo.preset_directory import from_preset, load_class_names, load_preprocessing

_RESUMABLE = 75
_SOME_FAILED = 3
_TOP = 5


def start_backend() -> None:
    """Makes the backend find its devices, which is when it speaks."""
    devices()
    keras.ops.zeros(())


def train(options: dict[str, Any], *, run_dir: Path | None, resume: bool, force_resume: bool, as_json: bool) -> None:
    """Trains from scratch, and prints the result beside the baseline and the next command.

    Args:
        options: Fields of `TrainingOptions`.
        run_dir: Where to.
        resume: Goes on with an interrupted run.
        force_resume: Under other versions, too.
        as_json: One JSON object on stdout; progress stays on stderr.
    """

    def start(console: Console) -> TrainingResult:
        chosen = _with_recorded(options, TrainingOptions, run_dir, resume=resume)
        return train_preset(
            TrainingOptions(**chosen), run_dir=run_dir, resume=resume, force_resume=force_resume, console=console
        )

    _carry_out("train", start, as_json=as_json)


def finetune(
    options: dict[str, Any], *, run_dir: Path | None, resume: bool, force_resume: bool, tensorboard: bool, as_json: bool
) -> None:
    """Fine-tunes a preset, and prints the result and the next command.

    Args:
        options: Fields of `FinetuningOptions`.
        run_dir: Where to.
        resume: Goes on with an interrupted run.
        force_resume: Under other versions, too.
        tensorboard: Writes TensorBoard's logs, too.
        as_json: One JSON object on stdout; progress stays on stderr.
    """

    def start(console: Console) -> TrainingResult:
        chosen = _with_recorded(options, FinetuningOptions, run_dir, resume=resume)
        missing = [name.upper() for name in ("preset", "data") if name not in chosen]
        if missing:
            raise InvalidArgumentError(
                f"{' and '.join(missing)} missing: vit-keras finetune PRESET DATA, or --resume --run-dir RUN."
            )
        return finetune_preset(
            FinetuningOptions(**chosen),
            run_dir=run_dir,
            resume=resume,
            force_resume=force_resume,
            tensorboard=tensorboard,
            console=console,
        )

    _carry_out("finetune", start, as_json=as_json)


def _with_recorded(options: dict[str, Any], kind: type[Any], run_dir: Path | None, *, resume: bool) -> dict[str, Any]:
    if not resume or run_dir is None:
        return options
    return {**asdict(recorded_options(RunDirectory(run_dir), kind)), **options}


def _carry_out(command: str, start: Callable[[Console], TrainingResult], *, as_json: bool) -> None:
    """Trains, says how to go on where that is interrupted, and prints what came of it."""
    console = Console(stderr=True, highlight=False, soft_wrap=True, markup=False) if as_json else out
    try:
        result = start(console)
    except TrainingInterrupted as interrupt:
        complain(
            f"Interrupted; everything done is kept. Go on with: vit-keras {command} --resume --run-dir {interrupt.run_directory}"
        )
        raise typer.Exit(_RESUMABLE) from None
    record, run = result.record, result.run_directory
    if as_json:
        print_json({"run": str(run), **record["results"], "seconds": record["seconds"]})
        return
    results, count = record["results"], len(result.evaluation.labels)
    out.print(
        f"test accuracy      {results['test_accuracy']:7.2%}   of {count:,} images ({record['seconds']['total']:.0f} s in all)"
    )
    if "nearest_neighbour_accuracy" in results:
        out.print(f"nearest neighbour  {results['nearest_neighbour_accuracy']:7.2%}   the baseline, on 16x16 pixels")
    out.print(f"look at            {run}/report.html")
    out.print(f"next               vit-keras predict {run} YOUR_IMAGE.jpg")


def evaluate(run: Path, *, as_json: bool) -> None:
    """Prints a run's test accuracy, computed again.

    Args:
        run: The run directory.
        as_json: One JSON object instead of lines.
    """
    result = evaluate_run(run)
    if as_json:
        print_json(result)
        return
    out.print(f"test accuracy  {result['test_accuracy']:7.2%}")
    same = result["test_accuracy"] == result["recorded"]
    out.print(
        f"recorded       {result['recorded']:7.2%}   {'the same' if same else 'not the same: another backend, version or processor?'}"
    )


def predict(directory: Path, images: Sequence[Path], *, as_json: bool) -> None:
    """Prints the likeliest classes of each image; files that can't be read are named and skipped.

    Args:
        directory: A run directory, or a preset directory.
        images: Image files.
        as_json: One JSON list, an object an image, instead of lines.
    """
    preset = RunDirectory(directory).model if RunDirectory(directory).model.is_dir() else directory
    model, class_names = from_preset(preset), load_class_names(preset)
    if model_num_classes(model) is None:
        raise InvalidArgumentError(f"{preset}: this model has no head, so it names no classes.")
    preprocessing = load_preprocessing(preset)
    rows: list[dict[str, Any]] = []
    for path in images:
        try:
            pixels = read_image(path, preprocessing)
        except VitKerasError as error:
            rows.append({"file": str(path), "error": str(error)})
            continue
        row = probabilities(model, pixels[None])[0]
        best = np.argsort(-row, kind="stable")[:_TOP]
        rows.append(
            {
                "file": str(path),
                "classes": [{"name": class_names[index], "probability": float(row[index])} for index in best],
            }
        )
    if as_json:
        print_json(rows)
    else:
        _print_rows(rows)
    if any("error" in row for row in rows):
        raise typer.Exit(_SOME_FAILED)


def _print_rows(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        if "error" in row:
            sys.stdout.flush()
            err.print(printable(f"skipped {row['error']}"))
            continue
        out.print(printable(row["file"]))
        for best in row["classes"]:
            out.print(f"  {best['probability']:7.2%}  {best['name']}")
