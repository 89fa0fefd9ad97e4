"""Proposes the next configuration."""

from collections.abc import Sequence

import numpy as np

from vit_keras.tuning.space.search_space import Values
from vit_keras.tuning.strategy.candidates import HypermodelCandidates
from vit_keras.tuning.strategy.surrogate import Surrogate, predict_final_scores
from vit_keras.tuning.study.study import Study, Trial

FIRST = 8  # trials before the surrogate model is used
_EXPLORED = 0.2  # fraction of later trials that are drawn at random, so that every part of the space is reached
_DRAWN, _NEAR, _PARENTS = 64, 12, 3
_LEARNED_FROM = 200  # last trials; the cost of the surrogate grows with their cube


class Sampler:
    """Proposes the candidate with the largest expected improvement.

    A proposal depends on the study and the seed alone, so a search that was killed proposes the same when it resumes. No
    configuration is proposed twice.
    """

    def __init__(self, candidates: HypermodelCandidates, *, seed: int = 0) -> None:
        self.candidates = candidates
        self.seed = seed
        self._keys: list[str] = []

    def propose(self, study: Study) -> tuple[Values, str] | None:
        """Returns a new configuration and its origin, or None if there is none left."""
        rng = np.random.default_rng((self.seed, len(study.trials)))
        seen = self._list_seen_keys(study)
        for origin, values in self.candidates.first():
            if self.candidates.make_key(values) not in seen:
                return values, origin
        known = study.trained[-_LEARNED_FROM:]
        if len(known) < FIRST or rng.random() < _EXPLORED:
            for count in (_NEAR, _DRAWN):
                drawn = self._select_new(self.candidates.draw(count, rng), seen)
                if drawn:
                    return drawn[0], "random"
            return None
        parents = study.ranking[:_PARENTS]
        pool = self.candidates.draw(_DRAWN, rng)
        pool += [near for parent in parents for near in self.candidates.draw_near(parent.values, _NEAR, rng)]
        pool = self._select_new(pool, seen)
        if not pool:
            return None
        points = np.stack([self.candidates.encode(values) for values in pool])
        improvement = self._fit_surrogate(study, known, rng).expected_improvement(points)
        return pool[int(improvement.argmax())], "model"

    def _fit_surrogate(self, study: Study, known: Sequence[Trial], rng: np.random.Generator) -> Surrogate:
        places = np.stack([self.candidates.encode(trial.values) for trial in known])
        scores, noise_std = predict_final_scores(known, study.objective)
        if len(study.objectives) > 1:
            scores, noise_std = _scalarize(study, known, scores, noise_std, rng)
        return Surrogate(places, scores, noise_std)

    def _select_new(self, drawn: Sequence[Values], seen: set[str]) -> list[Values]:
        """Returns the configurations that were not tried yet, each once."""
        found = {self.candidates.make_key(values): values for values in reversed(drawn)}
        return [values for key, values in reversed(found.items()) if key not in seen]

    def _list_seen_keys(self, study: Study) -> set[str]:
        for trial in study.trials[len(self._keys) :]:
            self._keys.append(self.candidates.make_key(trial.values))
        return {*self._keys, *(self.candidates.make_key(values) for values, _ in study.refused)}


def _scalarize(
    study: Study, trials: Sequence[Trial], first: np.ndarray, noise_std: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Combines several objectives into one score with new random weights each time, so that the whole front is explored.

    The augmented Chebyshev form of Knowles 2006 (ParEGO), doi 10.1109/TEVC.2005.851274.
    """
    columns = [first, *(np.array([trial.value(each) for trial in trials]) for each in study.objectives[1:])]
    scaled = np.stack([(column - column.min()) / (np.ptp(column) or 1.0) for column in columns], axis=1)
    weights = rng.dirichlet(np.ones(len(columns)))
    shortfall = (1.0 - scaled) * weights
    return -(shortfall.max(1) + 0.05 * shortfall.sum(1)), noise_std * weights[0] / (np.ptp(first) or 1.0)
