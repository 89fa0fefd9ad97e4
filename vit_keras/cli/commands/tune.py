"""`vit-keras tune`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from rich.console import Console
from typer import Context, Option

from vit_keras.cli import options as shared
from vit_keras.cli.backend import start_backend
from vit_keras.cli.output import out, print_json, progress_console
from vit_keras.errors import InvalidArgumentError

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
        str | None, Option(help="30min (default), 2h, '40 trials', or '200 epochs' over all trials.")
    ] = None,
    objective: Annotated[
        list[str] | None,
        Option(
            help="val_accuracy (default, or the first metric of another task) or val_loss; repeat it with params or macs for a Pareto front."
        ),
    ] = None,
    epochs: Annotated[int | None, Option(help="Training epochs of the best trials; 8 by default.")] = None,
    max_params: Annotated[int | None, Option(help="Maximum number of parameters of a model.")] = None,
    max_macs: Annotated[int | None, Option(help="Maximum number of MACs per image.")] = None,
    space: Annotated[
        str | None,
        Option(metavar="FILE", help="TOML or JSON file of the search space; overrides parts of the default."),
    ] = None,
    image_size: Annotated[int | None, Option(help="Height and width, px; required for image files.")] = None,
    limit: shared.Limit = None,
    seed: shared.Seed = None,
    workers: Annotated[int | None, Option(help="Trials trained in parallel; 1 by default.")] = None,
    role: Annotated[str | None, Option(help="chief or worker, for a search on several machines.")] = None,
    address: Annotated[str | None, Option(metavar="HOST:PORT", help="Address of the chief.")] = None,
    run_dir: shared.RunDir = None,
    resume: shared.Resume = False,
    as_json: shared.Json = False,
    debug: shared.Debug = False,
) -> None:
    """Search depth, heads and other hyperparameters for the best model within a budget."""
    start_backend(debug=debug)
    from vit_keras.cli.training_run import resumable
    from vit_keras.tuning.study.journal import Journal
    from vit_keras.tuning.study.run_directory import JOURNAL
    from vit_keras.tuning.workers.distribution import set_role

    if (role is None) != (address is None):
        raise InvalidArgumentError("--role and --address need each other: give both, or neither.")
    if role is not None and address is not None:
        if run_dir is None:
            raise InvalidArgumentError("--role needs --run-dir: a folder that the chief and all workers can write to.")
        set_role(role, address)
    options = shared.typed_options(context)
    if resume and run_dir is not None:
        options = {**Journal(run_dir / JOURNAL).cli_options, **options}
    if "data" not in options:
        raise InvalidArgumentError("DATA missing: vit-keras tune DATA, or --resume --run-dir RUN.")
    with resumable("tune"):
        console, resume = progress_console(as_json=as_json), resume or role is not None
        result = _search(options, run_dir=run_dir, resume=resume, role=role, console=console)
    if result is not None:
        _print_result(result, as_json=as_json)


def _search(
    options: dict[str, Any], *, run_dir: Path | None, resume: bool, role: str | None, console: Console
) -> "SearchResult | None":
    """Runs the search, or this machine's part of it; a worker returns None."""
    from vit_keras.tuning.searching import join, plan_search, search
    from vit_keras.tuning.workers.distribution import CHIEF

    def pick(*names: str) -> dict[str, Any]:
        return {name: options[name] for name in names if name in options}

    if role is None or role == CHIEF or run_dir is None:
        return search(**options, run_dir=run_dir, resume=resume, console=console)
    plan = plan_search(
        options["data"],
        sizes=pick("max_params", "max_macs", "space", "image_size"),
        tuner=pick("epochs", "workers", "seed"),
        limit=options.get("limit"),
        loading=shared.loading_options(options),
        hypermodel=None,
        options=None,
        console=console,
    )
    join(plan, run_dir=run_dir)
    return None


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
