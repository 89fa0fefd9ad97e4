"""Which configuration is tried next."""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np

from vit_keras.tuning.strategy.surrogate import Surrogate, scores_at_the_horizon, trained
from vit_keras.tuning.study.study import Objective, Study, Trial

FIRST = 8  # trials before a model is asked
_EXPLORED = 0.2  # fraction of later trials that are drawn without it, so that no part of the space is left out for ever
_DRAWN, _NEAR, _PARENTS = 64, 12, 3
_LEARNED_FROM = 200  # trials; the cost of a model grows with their cube
Values = dict[str, Any]


class Candidates(Protocol):
    """What a search chooses from: configurations that can be built and are within every limit."""

    def first(self) -> Iterable[tuple[str, Values]]:
        """Returns what is worth trying before anything is known, with the word for where it is from."""

    def draw(self, count: int, rng: np.random.Generator) -> list[Values]:
        """Returns configurations drawn at random; fewer where there are no more."""

    def near(self, values: Values, count: int, rng: np.random.Generator) -> list[Values]:
        """Returns configurations that differ little from one."""

    def encode(self, values: Values) -> np.ndarray:
        """Returns a configuration as a point of the unit cube."""

    def key(self, values: Values) -> str:
        """Returns the same word for configurations that train the same."""


class Sampler:
    """Proposes what a model of the trials so far expects to improve most on the best of them.

    What is proposed depends on the study and the seed alone, so that a search that was killed proposes the same when it goes on. No
    configuration is proposed twice.

    Args:
        candidates: What is chosen from.
        seed: Decides every draw.
    """

    def __init__(self, candidates: Candidates, *, seed: int = 0) -> None:
        self.candidates = candidates
        self.seed = seed
        self._keys: list[str] = []

    def propose(self, study: Study) -> tuple[Values, str] | None:
        """Returns a configuration that is new and who proposes it, or nothing where there is none left.

        Args:
            study: What is known.
        """
        rng = np.random.default_rng((self.seed, len(study.trials)))
        seen = self._seen(study)
        for origin, values in self.candidates.first():
            if self.candidates.key(values) not in seen:
                return values, origin
        known = trained(study)[-_LEARNED_FROM:]
        if len(known) < FIRST or rng.random() < _EXPLORED:
            drawn = self._new(self.candidates.draw(_NEAR, rng), seen) or self._new(
                self.candidates.draw(_DRAWN, rng), seen
            )
            return (drawn[0], "random") if drawn else None
        parents = study.ranked()[:_PARENTS]
        pool = self.candidates.draw(_DRAWN, rng)
        pool += [near for parent in parents for near in self.candidates.near(parent.values, _NEAR, rng)]
        pool = self._new(pool, seen)
        if not pool:
            return None
        promise = self._surrogate(study, known, rng).expected_improvement(
            np.stack(list(map(self.candidates.encode, pool)))
        )
        return pool[int(promise.argmax())], "model"

    def _surrogate(self, study: Study, known: Sequence[Trial], rng: np.random.Generator) -> Surrogate:
        places = np.stack([self.candidates.encode(trial.values) for trial in known])
        scores, doubts = scores_at_the_horizon(study, known, _curves(known, study.objective))
        if len(study.objectives) > 1:
            scores, doubts = _scalarised(study, known, scores, doubts, rng)
        return Surrogate(places, scores, doubts)

    def _new(self, drawn: Sequence[Values], seen: set[str]) -> list[Values]:
        """Returns those that were neither tried nor come twice."""
        found = {self.candidates.key(values): values for values in reversed(drawn)}
        return [values for key, values in reversed(found.items()) if key not in seen]

    def _seen(self, study: Study) -> set[str]:
        for trial in study.trials[len(self._keys) :]:
            self._keys.append(self.candidates.key(trial.values))
        return {*self._keys, *(self.candidates.key(values) for values, _ in study.refused)}


def _curves(trials: Sequence[Trial], objective: Objective) -> list[list[float]]:
    return [[objective.value(trial, epoch + 1) for epoch in range(trial.epochs)] for trial in trials]


def _scalarised(
    study: Study, trials: Sequence[Trial], first: np.ndarray, doubts: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Returns one score for several objectives, weighted anew each time, so that the whole front is looked for.

    The augmented Chebyshev form of Knowles 2006 (ParEGO), doi 10.1109/TEVC.2005.851274.
    """
    columns = [first, *(np.array([each.value(trial) for trial in trials]) for each in study.objectives[1:])]
    scaled = np.stack([_unit(column) for column in columns], axis=1)
    weights = rng.dirichlet(np.ones(len(columns)))
    short = (1.0 - scaled) * weights  # of the best of each
    return -(short.max(1) + 0.05 * short.sum(1)), doubts * weights[0] / (np.ptp(first) or 1.0)


def _unit(column: np.ndarray) -> np.ndarray:
    scaled: np.ndarray = (column - column.min()) / (np.ptp(column) or 1.0)
    return scaled
