"""What a free worker does next: goes on with a trial, begins one, waits, or stops."""

from dataclasses import dataclass
from typing import Any, Literal

from vit_keras.tuning.strategy.budget import Budget
from vit_keras.tuning.strategy.halving import Halving, Job
from vit_keras.tuning.strategy.sampling import Sampler
from vit_keras.tuning.study.study import Study, Trial

_MARGIN = 1.15  # of the time that is kept for the best trial's way to the horizon


@dataclass(frozen=True)
class Step:
    """What to do.

    Args:
        what: "go_on" with a trial, "begin" a new one, "wait" for others, or "stop".
        epochs: How far to train.
        trial: The trial to go on with.
        values: Of the new trial.
        origin: Who proposed it.
    """

    what: Literal["go_on", "begin", "wait", "stop"]
    epochs: int = 0
    trial: Trial | None = None
    values: dict[str, Any] | None = None
    origin: str = ""


@dataclass(frozen=True)
class Policy:
    """Spends a budget so that the best trial reaches the full horizon before it ends.

    Args:
        halving: Promotes.
        sampler: Proposes.
        budget: What may be spent.
    """

    halving: Halving
    sampler: Sampler
    budget: Budget

    def next(self, study: Study, *, seconds: float = 0.0) -> Step:
        """Returns what a worker that is free does next.

        Args:
            study: What is known.
            seconds: How long the search has gone on.
        """
        job = self.halving.abandoned(study)
        if job is None:
            job = self.halving.promotable(study)
            if job is not None and not self._affords(study, job, seconds):
                job = None
        if job is None and self._may_begin(study, seconds):
            proposed = self.sampler.propose(study)
            if proposed is not None:
                return Step("begin", self.halving.rungs[0], values=proposed[0], origin=proposed[1])
        running = any(trial.state == "RUNNING" for trial in study.trials)
        if job is None and not running:  # what others will have found is known only when they have
            job = self.halving.leading(study)
        if job is not None:
            return Step("go_on", job.epochs, trial=job.trial)
        return Step("wait" if running else "stop")

    def _affords(self, study: Study, job: Job, seconds: float) -> bool:
        """Returns whether the budget has room for a job and for the best trial's way to the horizon."""
        if job.trial is None or self.budget.trials is not None:
            return True
        extra = job.epochs - job.trial.epochs
        leader = next(iter(study.ranked()), None)
        same = leader is not None and leader.number == job.trial.number
        return self._left(study, seconds) >= self._price(job.trial, extra) + (0.0 if same else self._reserve(study))

    def _may_begin(self, study: Study, seconds: float) -> bool:
        if self.budget.trials is not None:
            return len(study.trials) < self.budget.trials
        first = self.halving.rungs[0]
        trained = [trial for trial in study.trials if trial.epochs and trial.seconds]
        mean = sum(trial.seconds for trial in trained) / max(sum(trial.epochs for trial in trained), 1)
        price = first if self.budget.epochs is not None else mean * first
        return not study.trials or self._left(study, seconds) >= price + self._reserve(study)

    def _left(self, study: Study, seconds: float) -> float:
        """Returns what is left of the budget when the jobs that run are done: epochs, or seconds."""
        running = [trial for trial in study.trials if trial.state == "RUNNING"]
        due = sum(self._price(trial, trial.target - trial.epochs) for trial in running)
        if self.budget.epochs is not None:
            return self.budget.epochs - study.epochs_trained - due
        return (self.budget.seconds or 0.0) - seconds - due / max(len(running), 1)

    def _reserve(self, study: Study) -> float:
        """Returns what the best trial needs to reach the horizon."""
        best = next(iter(study.ranked()), None)
        if best is None:
            return 0.0
        price = self._price(best, self.halving.rungs[-1] - best.epochs)
        return price if self.budget.epochs is not None else price * _MARGIN

    def _price(self, trial: Trial, epochs: int) -> float:
        """Returns what epochs of a trial take of the budget."""
        if self.budget.epochs is not None:
            return epochs
        return epochs * trial.pace
