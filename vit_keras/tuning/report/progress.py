"""Shows the progress of a search."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from vit_keras.data import ImageData
from vit_keras.data.tasks import describe_count
from vit_keras.reporting.progress import progress_bar
from vit_keras.tuning.strategy.budget import Budget
from vit_keras.tuning.study.journal import Journal
from vit_keras.tuning.study.study import Study, Trial

_SECONDS = 0.5


class SearchProgress:
    """A progress bar of the budget, and a line each time a trial reaches a rung or ends."""

    def __init__(self, console: Console, budget: Budget) -> None:
        self.console = console
        self.budget = budget
        self._study: Study | None = None

    def introduce(self, data: ImageData, run: Path, study: Study, *, limits: str = "") -> None:
        """Prints data, budget and run directory of the search, and limits that were chosen for it."""
        counts = ", ".join(f"{count:,} {name}" for name, count in data.sizes.items())
        lines = [
            f"data     {data.name}: {counts} images, {describe_count(data.task, len(data.class_names))}",
            f"search   {self.budget}, up to {study.epochs} epochs per trial, objective {', '.join(each.name for each in study.objectives)}",
            f"run      {run}",
            *(
                [f"limit    {limits}: for {data.sizes['train']:,} training images here; max_params sets another"]
                if limits
                else []
            ),
            *(f"read     {decision}" for decision in data.decisions),
            *([f"note     {resolution}"] if (resolution := describe_resolution(study, data)) else []),
            *([f"resumed  {len(study.trials)} trials, {study.epochs_trained} epochs so far"] if study.trials else []),
        ]
        for line in lines:
            self.console.print(line, highlight=False)

    @contextmanager
    def show(self, study: Study, journal: Journal) -> Iterator[None]:
        """Shows the progress bar inside its block."""
        self._study = study
        ended = threading.Event()
        with progress_bar(self.console, "searching", shows_time=False) as update:

            def refresh() -> None:
                while not ended.wait(_SECONDS):
                    update(self._compute_fraction(study, journal), 1.0, _describe_running(study))

            thread = threading.Thread(target=refresh, daemon=True)
            thread.start()
            try:
                yield
            finally:
                ended.set()
                thread.join()

    def on_event(self, record: Mapping[str, Any]) -> None:
        """Prints a line if a trial reached a rung or ended, and if one of several processes joined or left."""
        if record["what"] == "budget":
            self.budget = Budget.parse(record["budget"])
        others = [] if self._study is None else [each.name for each in self._study.active]
        if record["what"] in ("joined", "left") and set(others) - {record["participant"]}:
            change = "was lost; others continue its trials" if record.get("lost") else record["what"]
            self.console.print(f"process  {record['participant']} {change}", highlight=False)
        if self._study is None or record["what"] not in ("waiting", "ended"):
            return
        trial = self._study.trials[record["trial"]]
        if record["what"] == "waiting" and not (trial.epochs and trial.is_waiting):
            return
        if record.get("reason", "").startswith("not promoted"):
            return
        self.console.print(format_line(self._study, trial), highlight=False)

    def _compute_fraction(self, study: Study, journal: Journal) -> float:
        if self.budget.seconds is not None:
            return min(journal.seconds / self.budget.seconds, 1.0)
        if self.budget.epochs is not None:
            return min(study.epochs_trained / self.budget.epochs, 1.0)
        return min(len(study.trials) / (self.budget.trials or 1), 1.0)


def _describe_running(study: Study) -> str:
    described = (f"trial {trial.number} epoch {trial.epochs + 1}/{trial.target}" for trial in study.running)
    return f"{study.epochs_trained} epochs, {', '.join(described)}"


def describe_resolution(study: Study, data: ImageData) -> str:
    """Returns the smallest difference in accuracy that the validation images can show; empty for other objectives."""
    count, name = data.sizes["validation"], study.objective.name
    if not name.endswith("accuracy"):
        return ""
    return f"the objective {name} is measured on {count:,} images, in steps of {1 / count:.2g} (one image)"


def format_line(study: Study, trial: Trial) -> str:
    """Returns a trial's score, or its fault, and the best trial so far in one line; where several processes search, also its worker."""
    where = f"  by {trial.workers[-1]}" if len(study.active) > 1 and trial.workers else ""
    if not trial.epochs:
        return f"trial {trial.number:4d}  {trial.state}: {trial.reason}{where}"
    name = study.objective.name
    best = study.best
    score = f"epoch {trial.epochs:3d}/{study.epochs}  {name} {trial.curve[-1][name]:.4f}"
    leader = f"  best so far: trial {best.number}, {best.curve[-1][name]:.4f}" if best else ""
    ended = "" if trial.state in ("QUEUED", "COMPLETED") else f"  {trial.state}"
    if ended and trial.reason:
        ended += f": {trial.reason}"
    return f"trial {trial.number:4d}  {score}{ended}{leader}{where}"
