"""A model of what configurations are worth, made of the trials so far.

Our own and not scikit-learn's: distances a dimension are computed once for all the kernels that are compared, so that a proposal takes
milliseconds; the arithmetic is NumPy's and SciPy's.
"""

from collections.abc import Sequence

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.stats import norm

from vit_keras.tuning.study.study import FAULTS, Study, Trial

_LENGTHS = (0.5, 1.0, 2.0)  # times the root of the number of dimensions
_NOISES = (0.05, 0.2, 0.5)  # standard deviation, of scores of standard deviation 1
_STRETCH = 4.0  # a dimension that matters little is made this much longer


class Surrogate:
    """A Gaussian process over the unit cube, with a length a dimension, of scores at the full horizon.

    Scores of trials stopped early are brought to the horizon by the mean gain of those that went on, and trusted the less the more
    these gains differ. Kernel: Matern 5/2. Paper: Snoek et al. 2012, arXiv 1206.2944.

    Args:
        places: `(trials, dimensions)`, each in the unit cube.
        scores: `(trials,)`, more is better.
        doubts: `(trials,)`, standard deviations of what is not known of each score, in its unit.
    """

    def __init__(self, places: np.ndarray, scores: np.ndarray, doubts: np.ndarray) -> None:
        self.places = places
        self._mean, self._scale = float(scores.mean()), float(scores.std()) or 1.0
        self._target = (scores - self._mean) / self._scale
        self._doubts = np.square(doubts / self._scale)
        self._squares = np.square(places[:, None] - places[None])  # (trials, trials, dimensions)
        self._lengths, self._noise = self._fitted()
        self._factor = cho_factor(self._covariance(self._lengths, self._noise), lower=True)
        self._weights = cho_solve(self._factor, self._target)

    def _fitted(self) -> tuple[np.ndarray, float]:
        """Returns the lengths and the noise of the greatest likelihood found: one for all, then each dimension longer if that helps."""
        dimensions = self.places.shape[1]
        tried = [
            (self._likelihood(lengths, noise), index, lengths, noise)
            for index, lengths in enumerate(np.full(dimensions, each * dimensions**0.5) for each in _LENGTHS)
            for noise in _NOISES
        ]
        best, _, lengths, noise = max(tried, key=lambda each: each[:2])
        for dimension in range(dimensions):
            longer = lengths.copy()
            longer[dimension] *= _STRETCH
            likelihood = self._likelihood(longer, noise)
            if likelihood > best:
                best, lengths = likelihood, longer
        return lengths, noise

    def _covariance(self, lengths: np.ndarray, noise: float) -> np.ndarray:
        return _matern(self._squares @ lengths**-2.0) + np.diag(noise**2 + self._doubts + 1e-8)

    def _likelihood(self, lengths: np.ndarray, noise: float) -> float:
        factor, lower = cho_factor(self._covariance(lengths, noise), lower=True)
        return float(-0.5 * self._target @ cho_solve((factor, lower), self._target) - np.log(np.diag(factor)).sum())

    def predict(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns mean and standard deviation of the scores expected at some places.

        Args:
            places: `(count, dimensions)`.
        """
        cross = _matern(np.square(places[:, None] - self.places[None]) @ self._lengths**-2.0)
        mean = cross @ self._weights
        variance = 1.0 - np.einsum("ij,ji->i", cross, cho_solve(self._factor, cross.T))
        return self._mean + self._scale * mean, self._scale * np.sqrt(np.maximum(variance, 1e-12))

    def expected_improvement(self, places: np.ndarray) -> np.ndarray:
        """Returns by how much some places are expected to beat the best of what was tried, as the model sees it.

        Args:
            places: `(count, dimensions)`.
        """
        best = self.predict(self.places)[0].max()
        mean, deviation = self.predict(places)
        ratio = (mean - best) / deviation
        improvement: np.ndarray = deviation * (ratio * norm.cdf(ratio) + norm.pdf(ratio))
        return improvement


def _matern(squared: np.ndarray) -> np.ndarray:
    distance = np.sqrt(5.0 * squared)
    covariance: np.ndarray = (1.0 + distance + distance**2 / 3.0) * np.exp(-distance)
    return covariance


def scores_at_the_horizon(
    study: Study, trials: Sequence[Trial], values: Sequence[Sequence[float]]
) -> tuple[np.ndarray, np.ndarray]:
    """Returns what trials would be worth at the end of the longest curve, and the standard deviation of what is not known of that.

    Args:
        study: What is known.
        trials: Whose scores are wanted, each with an epoch or more.
        values: Their scores an epoch, more is better.
    """
    longest = max(trial.epochs for trial in trials)
    gains, spreads = np.zeros(longest), np.zeros(longest)  # from each epoch to the next
    for epoch in range(1, longest):
        steps = [curve[epoch] - curve[epoch - 1] for curve in values if len(curve) > epoch]
        gains[epoch - 1] = np.mean(steps)
        spreads[epoch - 1] = np.var(steps) if len(steps) > 1 else np.var(gains[:epoch])
    scores = [curve[-1] + gains[len(curve) - 1 : longest - 1].sum() for curve in values]
    doubts = [np.sqrt(spreads[len(curve) - 1 : longest - 1].sum()) for curve in values]
    return np.array(scores), np.array(doubts)


def trained(study: Study) -> list[Trial]:
    """Returns the trials that a model can learn from.

    Args:
        study: What is known.
    """
    return [trial for trial in study.trials if trial.epochs and trial.state not in FAULTS]
