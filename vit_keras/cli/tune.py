"""`vit-keras tune`."""

from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from vit_keras import data as data_sources
from vit_keras.cli.output import complain, out, print_json
from vit_keras.data.scan.progress import file_progress
from vit_keras.errors import InvalidArgumentError
from vit_keras.training.runs.session import TrainingInterrupted
from vit_keras.tuning.options import TunerOptions
from vit_keras.tuning.searching import SearchResult, join, search_data
from vit_keras.tuning.space.hypermodel import ViTHyperModel
from vit_keras.tuning.study.journal import Journal
from vit_keras.tuning.study.run_directory import JOURNAL
from vit_keras.tuning.workers.distribution import CHIEF, set_role

_RESUMABLE = 75


def tune(
    options: dict[str, Any],
    *,
    run_dir: Path | None,
    resume: bool,
    role: str | None,
    address: str | None,
    as_json: bool,
) -> None:
    """Searches, and prints the best trial and the lines of Python that load its model.

    Args:
        options: What was typed, by name.
        run_dir: Where to.
        resume: Goes on with an interrupted search.
        role: "chief" or "worker" of a search on several machines; None for one machine.
        address: The chief's.
        as_json: One JSON object on stdout; progress stays on stderr.
    """
    console = Console(stderr=True, highlight=False, soft_wrap=True, markup=False) if as_json else out
    if (role is None) != (address is None):
        raise InvalidArgumentError("--role and --address belong together: both, or neither.")
    if role is not None and address is not None:
        if run_dir is None:
            raise InvalidArgumentError("--role needs --run-dir: a folder that chief and workers all can write.")
        set_role(role, address)
    if resume and run_dir is not None:
        options = {**Journal(run_dir / JOURNAL).cli_options, **options}
    if "data" not in options:
        raise InvalidArgumentError("DATA missing: vit-keras tune DATA, or --resume --run-dir RUN.")
    try:
        result = _searched(options, run_dir=run_dir, resume=resume or role is not None, role=role, console=console)
    except TrainingInterrupted as interrupt:
        complain(
            f"Interrupted; everything done is kept. Go on with: vit-keras tune --resume --run-dir {interrupt.run_directory}"
        )
        raise typer.Exit(_RESUMABLE) from None
    if result is not None:
        _show(result, as_json=as_json)


def _searched(
    options: dict[str, Any], *, run_dir: Path | None, resume: bool, role: str | None, console: Console
) -> SearchResult | None:
    """Searches, or on several machines does this one's part; a worker has no result of its own."""
    with file_progress(console) as on_progress:
        data = data_sources.load(
            options["data"],
            image_size=options.get("image_size"),
            batch_size=options.get("batch_size", 64),
            limit=options.get("limit"),
            seed=options.get("seed", 0),
            on_progress=on_progress,
        )
    names = ("epochs", "workers", "seed", "factor")
    tuner_options = TunerOptions(**{name: options[name] for name in names if name in options})
    hypermodel = ViTHyperModel(
        data.image_shape[:2],
        len(data.class_names),
        channels=data.image_shape[2],
        space=options.get("space"),
        max_params=options.get("max_params"),
        max_macs=options.get("max_macs"),
    )
    if role is not None and role != CHIEF and run_dir is not None:
        join(data, hypermodel, run_dir=run_dir, options=tuner_options)
        return None
    return search_data(
        data,
        hypermodel,
        budget=options.get("budget", "30min"),
        objective=options.get("objective", "val_accuracy"),
        run_dir=run_dir,
        resume=resume,
        options=tuner_options,
        console=console,
        cli_options={name: value for name, value in options.items() if name != "workers"},
    )


def _show(result: SearchResult, *, as_json: bool) -> None:
    if as_json:
        print_json({"run": str(result.run_directory), **result.record})
        return
    name = result.study.objective.name
    out.print(f"best               trial {result.best.number}, {name} {result.best.curve[-1][name]:.4f}")
    out.print(f"test accuracy      {result.test_accuracy:7.2%}   of images that the search never saw")
    out.print(f"look at            {result.run_directory}/study.html")
    out.print("import vit_keras as vk")
    out.print(f'model = vk.from_preset("{result.model_directory}")')
