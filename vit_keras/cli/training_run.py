"""What `train`, `finetune`, `pretrain` and `tune` share: recorded options, interruption, the printed result."""

import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import typer

from vit_keras.cli.output import out, print_error, print_json, printable
from vit_keras.cli.wording import name_program
from vit_keras.distributed.cluster import is_chief
from vit_keras.runtime.signals import RESUMABLE, Aborted
from vit_keras.training.run_inputs import RunOptions
from vit_keras.training.runs.directory import ProcessLostError, RunDirectory, TrainingInterrupted
from vit_keras.training.runs.facts import count_noun, describe_spread
from vit_keras.training.runs.resuming import recorded_options
from vit_keras.training.runs.session import TrainingResult


def merge_recorded(
    options: Mapping[str, Any],
    command: str,
    run_dir: Path | None,
    *,
    resume: bool,
    kind: type[RunOptions] = RunOptions,
) -> dict[str, Any]:
    """Returns the arguments of `vk.train` and its like: the typed options, and those recorded in a resumed run for all others."""
    known = [each.name for each in fields(kind)]
    recorded = recorded_options(RunDirectory(run_dir), command, known) if resume and run_dir is not None else {}
    values = {**recorded, **options}
    return {**values.pop("changes", {}), **values}


@contextmanager
def resumable(command: str) -> Iterator[None]:
    """Exits with 75 where the block is interrupted, and says how to resume."""
    try:
        yield
    except (TrainingInterrupted, Aborted) as interrupt:
        run = interrupt.run_directory
        if run is None:
            raise
        is_saved = isinstance(interrupt, TrainingInterrupted) and not isinstance(interrupt, ProcessLostError)
        saved = "all progress" if is_saved else "the progress up to the last checkpoint"
        what = "Another process of the launch was lost" if isinstance(interrupt, ProcessLostError) else "Interrupted"
        print_error(f"{what}; {saved} is saved. Resume: vit-keras {command} --resume --run-dir {shlex.quote(str(run))}")
        raise typer.Exit(RESUMABLE) from None


def print_result(result: TrainingResult, *, as_json: bool) -> None:
    """Prints a run's test metrics, where its report is, and the next command."""
    if not is_chief():
        return
    record, run = result.record, result.run_directory
    results, seconds = record["results"], record["seconds"]
    if as_json:
        print_json({"run": str(run), **results, "seconds": seconds})
        return
    split, count = record.get("evaluated_on", "test"), len(result.evaluation.labels)
    if f"{split}_accuracy" in results:
        accuracy = results[f"{split}_accuracy"]
        out.print(f"{f'{split} accuracy':18} {accuracy:7.2%}   of {count:,} images ({seconds['total']:.0f} s in all)")
    else:
        out.print(f"{count:,} {split} images ({seconds['total']:.0f} s in all)")
        for name, value in results.items():
            if isinstance(value, float):
                out.print(printable(f"{name.removeprefix(f'{split}_').replace('_', ' '):36} {value:.5g}"))
    spread = describe_spread(record)
    if spread is not None:
        out.print(f"{count_noun(record['folds'], 'fold'):19} {spread} (mean and standard deviation)")
    if "nearest_neighbour_accuracy" in results:
        out.print(f"nearest neighbor   {results['nearest_neighbour_accuracy']:7.2%}   baseline, on 16x16 pixels")
    out.print(f"report             {run}/report.html")
    out.print(
        name_program(
            f"next               vit-keras predict {shlex.quote(str(run))} {shlex.quote(str(_find_example(run)))}"
        )
    )


def _find_example(run: Path) -> Path:
    """Returns an image to try a run's model on."""
    example = run / "figures" / "example.png"
    return example if example.is_file() else Path("YOUR_IMAGE.jpg")
