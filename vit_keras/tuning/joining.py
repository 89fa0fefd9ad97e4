"""`join`: another process, on this machine or another one, trains trials of a search."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from vit_keras.errors import InvalidArgumentError, StorageError
from vit_keras.reporting.progress import standard_console
from vit_keras.tuning.options import TunerOptions
from vit_keras.tuning.report.progress import SearchProgress
from vit_keras.tuning.search_options import SearchOptions
from vit_keras.tuning.searching import SearchPlan, conclude, plan_search, run_search
from vit_keras.tuning.space.hypermodel import ViTHyperModel
from vit_keras.tuning.space.search_space import SearchSpace
from vit_keras.tuning.space.searchable import Searchable
from vit_keras.tuning.strategy.budget import Budget
from vit_keras.tuning.study.journal import Journal
from vit_keras.tuning.study.run_directory import JOURNAL
from vit_keras.tuning.study.study import Study
from vit_keras.tuning.tuner import ViTTuner
from vit_keras.tuning.workers.worker import TrialLimits


def join(
    run_dir: str | Path,
    data: Any = None,
    *,
    validation: Any = None,
    workers: int | None = None,
    hypermodel: Searchable | None = None,
    image_dir: str | Path | None = None,
    trial_limits: TrialLimits | None = None,
    console: Console | None = None,
) -> Study:
    """Trains trials of a search that another process has started, on this machine or another one, until the search is over.

    The processes share the run directory alone: no port is opened. Budget, objective, space and seed are those of the search; any
    process may join or leave at any time, the first one included.

    Args:
        run_dir: The run directory of the search, in a folder that all machines can write to.
        data: The same data as the search's; None to load what it was started with, by name.
        validation: Likewise, if the search was started with one.
        workers: Number of trials trained in parallel here; None for 1.
        hypermodel: That of the search, if it was started with one.
        image_dir: Of a table: the folder of the images on this machine; None for that of the search.
        trial_limits: What one trial may use here.
        console: Where progress is shown; stdout by default.

    Returns:
        All trials, also those of other processes. The process that ends the search writes its report and its best model.

    Raises:
        StorageError: There is no search in the directory.
        ResumeError: Data, space, other settings or versions are not those of the search; the message lists the differences.
        NoCompletedTrialError: The search is over, and every trial failed.
        TrainingInterrupted: Ctrl-C or SIGTERM; the trials that ran here are left to other workers.
    """
    run, console = Path(run_dir), console or standard_console()
    if not (run / JOURNAL).is_file():
        raise StorageError(
            f"{run} holds no search to join: it has no {JOURNAL}. Start one there, or check that the folder is mounted."
        )
    journal = Journal(run / JOURNAL)
    plan, budget = _plan_as_recorded(
        journal,
        data,
        validation,
        hypermodel=hypermodel,
        image_dir=image_dir,
        machine={"workers": 1 if workers is None else workers, "trial_limits": trial_limits or TrialLimits()},
        console=console,
    )
    progress = SearchProgress(console, budget)
    tuner = ViTTuner(
        plan.hypermodel,
        run_dir=run,
        budget=None,
        objective=[name for name, _ in journal.fingerprint["objectives"]],
        options=plan.tuner_options,
        on_event=progress.on_event,
    )
    progress.introduce(plan.data, run, tuner.study)
    run_search(tuner, plan.data, progress)
    if tuner.coordinator.ended_search:
        conclude(tuner, plan.data)
    return tuner.study


def _plan_as_recorded(
    journal: Journal,
    data: Any,
    validation: Any,
    *,
    hypermodel: Searchable | None,
    image_dir: str | Path | None,
    machine: Mapping[str, Any],
    console: Console,
) -> tuple[SearchPlan, Budget]:
    """Returns the plan and the budget of the search of a journal; `machine` are the tuner's options that are not the search's."""
    run, recorded, told = journal.path.parent, journal.fingerprint, journal.cli_options
    data = told.get("data") if data is None else data
    if data is None:
        raise InvalidArgumentError(
            f"{run} was started in Python, with data that has no name: pass the same data, and the same hypermodel if there was one."
        )
    if hypermodel is None and recorded["kind"] != ViTHyperModel.__name__:
        raise InvalidArgumentError(f"{run} was started with a {recorded['kind']}: pass the same hypermodel.")
    budgets = [record["budget"] for record in journal.records if record["what"] == "budget"]
    budget = Budget.parse(budgets[-1] if budgets else told.get("budget", "30min"))
    # The file of the space may not be on this machine.
    own = dict.fromkeys(("space", "max_params", "max_macs", "image_size"))
    if hypermodel is None:
        height, width = recorded["image_size"]
        limits = recorded["limits"]
        own |= {"max_params": limits["params"], "max_macs": limits["macs"]}
        own |= {"image_size": height} if height == width else {}
    if image_dir is not None:
        own["image_dir"] = str(image_dir)
    plan = plan_search(
        data,
        validation,
        options=SearchOptions(**{**told, "seed": recorded["seed"], **own}),
        space=SearchSpace.from_dict(recorded["space"]) if hypermodel is None else None,
        hypermodel=hypermodel,
        tuner_options=TunerOptions(
            epochs=recorded["epochs"],
            first_rung=recorded["rungs"][0],
            factor=recorded["factor"],
            seed=recorded["seed"],
            **machine,
        ),
        console=console,
    )
    return plan, budget
