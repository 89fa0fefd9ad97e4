"""Asynchronous successive halving: which trial continues, and up to which epoch."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from vit_keras.errors import InvalidArgumentError
from vit_keras.tuning.study.study import FAULTS, Study, Trial


def make_rungs(epochs: int, *, first: int = 1, factor: float = 2.0) -> tuple[int, ...]:
    """Returns the epochs at which trials are compared, from `first`, growing by about `factor`; the last is the full horizon."""
    if not 1 <= first <= epochs:
        raise InvalidArgumentError(f"first_rung={first} must be from 1 to epochs={epochs}.")
    if factor <= 1:
        raise InvalidArgumentError(f"factor={factor} must be above 1.")
    count = max(round(math.log(epochs / first, factor)), 1) if epochs > first else 0
    steps = [round(first * (epochs / first) ** (index / count)) for index in range(count)] if count else []
    return tuple(dict.fromkeys([*steps, epochs]))


@dataclass(frozen=True)
class Job:
    """A trial to continue, up to an epoch."""

    trial: Trial
    epochs: int


@dataclass(frozen=True)
class Halving:
    """Promotes trials without waiting for those that are running.

    Whenever a worker is free, the best trial among the best `1 / factor` of its rung (in epochs) continues to the next rung; if there
    is none, a new trial starts. Paper: Li et al. 2020, arXiv 1810.05934.
    """

    rungs: Sequence[int]
    factor: float = 2.0

    def find_promotion(self, study: Study) -> Job | None:
        """Returns the promotion of a trial, from the highest rung that has one to promote."""
        for rung, following in reversed(list(zip(self.rungs, self.rungs[1:], strict=False))):
            reached = [trial for trial in study.trials if trial.epochs >= rung and trial.state not in FAULTS]
            best = study.order(reached, rung)[: math.floor(len(reached) / self.factor)]
            for trial in best:
                if trial.is_waiting and trial.epochs == rung:
                    return Job(trial, following)
        return None

    def find_abandoned(self, study: Study) -> Job | None:
        """Returns a trial whose worker was lost before it reached its rung, or before it had saved its model at the horizon."""
        for trial in study.trials:
            if trial.state == "QUEUED" and (trial.epochs < trial.target or trial.epochs >= self.rungs[-1]):
                return Job(trial, trial.target)
        return None

    def find_leader(self, study: Study) -> Job | None:
        """Returns the best trial, to be trained to the full horizon; None if one is there or on its way."""
        horizon = self.rungs[-1]
        if any(trial.target == horizon for trial in study.running):
            return None
        best = next(iter(study.ranking), None)
        if best is None or best.epochs >= horizon or not best.is_waiting:
            return None
        return Job(best, horizon)
