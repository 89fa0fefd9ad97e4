"""Decides what a free worker does next: continue a trial, start one, wait, or stop."""

from dataclasses import dataclass
from typing import Any, Literal

from vit_keras.tuning.strategy.budget import Budget
from vit_keras.tuning.strategy.halving import Halving, Job
from vit_keras.tuning.strategy.sampling import Sampler
from vit_keras.tuning.study.study import Study, Trial

_MARGIN = 1.15  # safety factor of the time that is reserved to train the best trial to the horizon


@dataclass(frozen=True)
class Step:
    """The next step of a worker: "continue" a trial, "start" a new one with `values`, "wait" for others, or "stop"."""

    what: Literal["continue", "start", "wait", "stop"]
    epochs: int = 0
    trial: Trial | None = None
    values: dict[str, Any] | None = None
    origin: str = ""


@dataclass(frozen=True)
class Policy:
    """Spends a budget so that the best trial reaches the full horizon in time."""

    halving: Halving
    sampler: Sampler
    budget: Budget

    def decide(self, study: Study, *, seconds: float = 0.0) -> Step:
        """Returns what a free worker does next."""
        if study.is_finished:
            return Step("stop")
        job = self.halving.find_abandoned(study)
        if job is None:
            job = self.halving.find_promotion(study)
            if job is not None and not self._can_afford(study, job, seconds):
                job = None
        if job is None and self._may_start(study, seconds):
            proposed = self.sampler.propose(study)
            if proposed is not None:
                return Step("start", self.halving.rungs[0], values=proposed[0], origin=proposed[1])
        running = bool(study.running)
        if job is None and not running:  # a running trial may still overtake the leader
            job = self.halving.find_leader(study)
        if job is not None:
            return Step("continue", job.epochs, trial=job.trial)
        return Step("wait" if running else "stop")

    def _can_afford(self, study: Study, job: Job, seconds: float) -> bool:
        """Returns whether the budget is enough for a job and to train the best trial to the horizon."""
        if self.budget.trials is not None:
            return True
        extra = job.epochs - job.trial.epochs
        leader = next(iter(study.ranking), None)
        same = leader is not None and leader.number == job.trial.number
        reserve = 0.0 if same else self._compute_reserve(study)
        return self._compute_left(study, seconds) >= self._compute_price(job.trial, extra) + reserve

    def _may_start(self, study: Study, seconds: float) -> bool:
        if self.budget.trials is not None:
            return len(study.trials) < self.budget.trials
        first = self.halving.rungs[0]
        trained = [trial for trial in study.trials if trial.epochs and trial.seconds]
        mean = sum(trial.seconds for trial in trained) / max(sum(trial.epochs for trial in trained), 1)
        price = first if self.budget.epochs is not None else mean * first
        return not study.trials or self._compute_left(study, seconds) >= price + self._compute_reserve(study)

    def _compute_left(self, study: Study, seconds: float) -> float:
        """Returns the budget that is left after the running jobs: epochs, or seconds."""
        running = study.running
        due = sum(self._compute_price(trial, trial.target - trial.epochs) for trial in running)
        if self.budget.epochs is not None:
            return self.budget.epochs - study.epochs_trained - due
        return (self.budget.seconds or 0.0) - seconds - due / max(len(running), 1)

    def _compute_reserve(self, study: Study) -> float:
        """Returns the budget that the best trial needs to reach the horizon."""
        best = next(iter(study.ranking), None)
        if best is None:
            return 0.0
        price = self._compute_price(best, self.halving.rungs[-1] - best.epochs)
        return price if self.budget.epochs is not None else price * _MARGIN

    def _compute_price(self, trial: Trial, epochs: int) -> float:
        return epochs if self.budget.epochs is not None else epochs * trial.pace
