"""Asynchronous successive halving: which trial is trained next, and how far."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from vit_keras.errors import InvalidArgumentError
from vit_keras.tuning.study.study import FAULTS, Study, Trial


def rungs(epochs: int, *, first: int = 1, factor: float = 2.0) -> tuple[int, ...]:
    """Returns the epochs at which trials are compared, the full horizon the last.

    Args:
        epochs: The full horizon.
        first: Epochs of the first rung.
        factor: Ratio of one rung's epochs to the one before, about.

    Raises:
        InvalidArgumentError: The first rung is beyond the horizon, or rungs would not rise.

    Example:
        >>> rungs(8), rungs(30, factor=3)
        ((1, 2, 4, 8), (1, 3, 10, 30))
    """
    if not 1 <= first <= epochs:
        raise InvalidArgumentError(f"The first rung is at {first} epochs; it must be from 1 to the horizon, {epochs}.")
    if factor <= 1:
        raise InvalidArgumentError(f"The rungs' factor is {factor}; it must be above 1.")
    count = max(round(math.log(epochs / first, factor)), 1) if epochs > first else 0
    steps = [round(first * (epochs / first) ** (index / count)) for index in range(count)] if count else []
    return tuple(dict.fromkeys([*steps, epochs]))


@dataclass(frozen=True)
class Job:
    """What a worker is to do.

    Args:
        trial: The trial to go on with; None for a new one.
        epochs: How far.
    """

    trial: Trial | None
    epochs: int


@dataclass(frozen=True)
class Halving:
    """Decides by what is known, without waiting for trials that run.

    Whenever a worker is free, the best trial that is among the best `1 / factor` of its rung goes on to the next; where there is
    none, a new one is begun. Paper: Li et al. 2020, arXiv 1810.05934.

    Args:
        rungs: Epochs, rising.
        factor: Of how many at a rung one is promoted.
    """

    rungs: Sequence[int]
    factor: float = 2.0

    def promotable(self, study: Study) -> Job | None:
        """Returns the job of promoting a trial, from the highest rung that has one to promote.

        Args:
            study: What is known.
        """
        for rung, following in reversed(list(zip(self.rungs, self.rungs[1:], strict=False))):
            reached = [trial for trial in study.trials if trial.epochs >= rung and trial.state not in FAULTS]
            best = study.ordered(reached, rung)[: math.floor(len(reached) / self.factor)]
            for trial in best:
                if trial.is_waiting and trial.epochs == rung:
                    return Job(trial, following)
        return None

    def abandoned(self, study: Study) -> Job | None:
        """Returns the job of going on with a trial whose worker was lost before it reached its rung.

        Args:
            study: What is known.
        """
        for trial in study.trials:
            if trial.state == "QUEUED" and trial.epochs < trial.target:
                return Job(trial, trial.target)
        return None

    def leading(self, study: Study) -> Job | None:
        """Returns the job of bringing the best trial to the full horizon, or nothing where one is there or on its way.

        Args:
            study: What is known.
        """
        horizon = self.rungs[-1]
        if any(trial.state == "RUNNING" and trial.target == horizon for trial in study.trials):
            return None
        best = next(iter(study.ranked()), None)
        if best is None or best.epochs >= horizon or not best.is_waiting:
            return None
        return Job(best, horizon)
