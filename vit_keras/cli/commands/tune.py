"""`vit-keras tune`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from rich.console import Console
from typer import Context, Option

from vit_keras.cli import options as shared
from vit_keras.cli.backend import announce, start_backend
from vit_keras.cli.checks import check_all, check_numbers, check_run_dir, check_source
from vit_keras.cli.help import DATA, SEARCH
from vit_keras.cli.output import out, print_json, printable, progress_console
from vit_keras.cli.replacing import replace_earlier
from vit_keras.errors import InvalidArgumentError, StorageError
from vit_keras.tuning.strategy.budget import Budget
from vit_keras.tuning.study.journal import Journal
from vit_keras.tuning.study.objectives import parse_objectives
from vit_keras.tuning.study.run_directory import JOURNAL, check_run_directory

_OF_MACHINE = ("data", "image_dir", "workers")
"""Options that may differ between the machines of a search."""

if TYPE_CHECKING:
    from vit_keras.tuning.searching import SearchResult


def tune_command(
    context: Context,
    data: shared.DataSource = None,
    task: shared.Task = None,
    image_dir: shared.ImageDir = None,
    image_column: shared.ImageColumn = None,
    label_column: shared.LabelColumn = None,
    label_separator: shared.LabelSeparator = None,
    contained: shared.Contained = False,
    budget: Annotated[
        str | None,
        Option(
            metavar="BUDGET",
            help="30min (default), 2h, '40 trials', or '200 epochs' over all trials.",
            rich_help_panel=SEARCH,
        ),
    ] = None,
    objective: Annotated[
        list[str] | None,
        Option(
            metavar="NAME",
            help="val_accuracy (default, or the first metric of another task) or val_loss; repeat it with params or macs for a Pareto front.",
            rich_help_panel=SEARCH,
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        Option(metavar="N", help="Training epochs of the best trials; 8 by default.", rich_help_panel=SEARCH),
    ] = None,
    max_params: Annotated[
        int | None, Option(metavar="N", help="Maximum number of parameters of a model.", rich_help_panel=SEARCH)
    ] = None,
    max_macs: Annotated[
        int | None, Option(metavar="N", help="Maximum number of MACs per image.", rich_help_panel=SEARCH)
    ] = None,
    space: Annotated[
        str | None,
        Option(
            metavar="FILE",
            help="TOML or JSON file of the search space; overrides parts of the default.",
            rich_help_panel=SEARCH,
        ),
    ] = None,
    image_size: Annotated[
        int | None, Option(metavar="PX", help="Height and width; required for image files.", rich_help_panel=DATA)
    ] = None,
    limit: shared.Limit = None,
    seed: shared.Seed = None,
    workers: Annotated[
        int | None, Option(metavar="N", help="Trials trained in parallel; 1 by default.", rich_help_panel=SEARCH)
    ] = None,
    join: Annotated[
        Path | None,
        Option(
            "--join",
            metavar="RUN_DIR",
            help="Train trials of the search in RUN_DIR, which another process started, on any machine.",
            rich_help_panel=SEARCH,
        ),
    ] = None,
    resume: shared.Resume = False,
    config: shared.Config = None,
    run_dir: shared.RunDir = None,
    overwrite: shared.Overwrite = False,
    as_json: shared.Json = False,
    quiet: shared.Quiet = False,
    debug: shared.Debug = False,
) -> None:
    """Search depth, heads and other hyperparameters for the best model within a budget.

    Examples:
        vit-keras tune photos/ --image-size 64 --budget 30min
        vit-keras tune emoji --objective val_accuracy --objective params --budget "40 trials"
        vit-keras tune --resume --run-dir runs/search-photos-1 --budget 1h
        vit-keras tune --join /shared/search --workers 2
    """
    typed = shared.typed_options(context)
    if data is None and not resume and join is None:
        raise InvalidArgumentError("SOURCE missing: vit-keras tune SOURCE, or --resume --run-dir RUN.")
    check_all(
        lambda: _check_join(join, typed, resume=resume, run_dir=run_dir, overwrite=overwrite),
        lambda: _check_run_dir(run_dir, resume=resume, overwrite=overwrite),
        lambda: check_source(data),
        lambda: Budget.parse(budget) if budget else None,
        lambda: parse_objectives(objective) if objective else None,
        lambda: check_numbers(seed=seed, epochs=epochs, limit=limit, image_size=image_size, workers=workers),
    )
    start_backend(debug=debug, trains=True)
    from vit_keras.cli.training_run import resumable

    console = progress_console(as_json=as_json, quiet=quiet)
    if join is not None:
        announce(f"joining {join}")
        with resumable("tune"):
            _join(join, typed, console=console, as_json=as_json)
        return
    options = typed
    if resume and run_dir is not None:
        options = {**Journal(run_dir / JOURNAL).cli_options, **options}
    announce(f"reading {options['data']}")
    with replace_earlier(run_dir, overwrite=overwrite), resumable("tune"):
        from vit_keras.tuning.searching import search

        result = search(**options, run_dir=run_dir, resume=resume, console=console)
    _print_result(result, as_json=as_json)


def _check_join(
    join: Path | None, typed: dict[str, Any], *, resume: bool, run_dir: Path | None, overwrite: bool
) -> None:
    if join is None:
        return
    others = {"resume": resume, "run_dir": run_dir, "overwrite": overwrite}
    refused = [name for name, value in others.items() if value] + [name for name in typed if name not in _OF_MACHINE]
    if refused:
        words = ", ".join(f"--{name.replace('_', '-')}" for name in refused)
        raise InvalidArgumentError(
            f"--join takes everything from the search in {join}, so {words} would have no effect: leave it out. SOURCE, --image-dir and "
            "--workers are of this machine."
        )
    if not (join / JOURNAL).is_file():
        raise StorageError(
            f"{join} holds no search to join: it has no {JOURNAL}. Check the path, or that the folder is mounted here."
        )


def _check_run_dir(run_dir: Path | None, *, resume: bool, overwrite: bool) -> None:
    has_search = run_dir is not None and (run_dir / JOURNAL).is_file()
    if run_dir is not None and resume and not overwrite:
        if not has_search:
            raise StorageError(f"{run_dir} holds no search to resume; start one without --resume.")
    elif run_dir is not None and not resume and not has_search:
        check_run_directory(run_dir)  # an empty one may be used
    else:
        check_run_dir(run_dir, resume=resume, overwrite=overwrite)


def _join(run_dir: Path, typed: dict[str, Any], *, console: Console, as_json: bool) -> None:
    from vit_keras.tuning.joining import join

    study = join(run_dir, **typed, console=console)
    best = study.best
    if as_json:
        record = {"run": str(run_dir), "trials": len(study.trials), "best": best and best.number}
        print_json(record)
        return
    if best is not None:
        name = study.objective.name
        out.print(f"best               trial {best.number}, {name} {best.curve[-1][name]:.4f}")
    out.print(printable(f"report             {run_dir}/study.html"))


def _print_result(result: "SearchResult", *, as_json: bool) -> None:
    if as_json:
        print_json({"run": str(result.run_directory), **result.record})
        return
    name = result.study.objective.name
    out.print(f"best               trial {result.best.number}, {name} {result.best.curve[-1][name]:.4f}")
    metric, value = next(iter(result.test_metrics.items()))
    kind = "7.4f" if metric == "r2" else "7.2%"
    out.print(f"{'test ' + metric.replace('_', ' '):18} {value:{kind}}   on images that the search did not use")
    out.print(f"report             {result.run_directory}/study.html")
    out.print("import vit_keras as vk")
    out.print(f'model = vk.from_preset("{result.model_directory}")')
