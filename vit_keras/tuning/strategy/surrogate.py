"""A Gaussian process that predicts the final score of a configuration from the trials so far.

Unlike scikit-learn's, it computes the distances per dimension once for all kernels it compares, so a proposal takes milliseconds.
"""

from collections.abc import Sequence

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.stats import norm

from vit_keras.tuning.study.objectives import Objective
from vit_keras.tuning.study.study import Trial

_LENGTHS = (0.5, 1.0, 2.0)  # length scales, in units of the square root of the number of dimensions
_NOISES = (0.05, 0.2, 0.5)  # standard deviations, for scores of standard deviation 1
_STRETCH = 4.0  # the length scale of an unimportant dimension is multiplied by this


class Surrogate:
    """A Gaussian process over the unit cube with one length scale per dimension and a Matern 5/2 kernel; more is better.

    Paper: Snoek et al. 2012, arXiv 1206.2944.
    """

    def __init__(self, places: np.ndarray, scores: np.ndarray, noise_std: np.ndarray) -> None:
        self.places = places
        self._mean, self._scale = float(scores.mean()), float(scores.std()) or 1.0
        self._target = (scores - self._mean) / self._scale
        self._variances = np.square(noise_std / self._scale)
        self._squares = np.square(places[:, None] - places[None])  # (trials, trials, dimensions)
        self._lengths, self._noise = self._fit()
        self._factor = cho_factor(self._compute_covariance(self._lengths, self._noise), lower=True)
        self._weights = cho_solve(self._factor, self._target)

    def _fit(self) -> tuple[np.ndarray, float]:
        """Returns the most likely length scales and noise: one length for all dimensions, then each longer if that is likelier."""
        dimensions = self.places.shape[1]
        tried = [
            (self._compute_likelihood(lengths, noise), index, lengths, noise)
            for index, lengths in enumerate(np.full(dimensions, each * dimensions**0.5) for each in _LENGTHS)
            for noise in _NOISES
        ]
        best, _, lengths, noise = max(tried, key=lambda each: each[:2])
        for dimension in range(dimensions):
            longer = lengths.copy()
            longer[dimension] *= _STRETCH
            likelihood = self._compute_likelihood(longer, noise)
            if likelihood > best:
                best, lengths = likelihood, longer
        return lengths, noise

    def _compute_covariance(self, lengths: np.ndarray, noise: float) -> np.ndarray:
        return _matern(self._squares @ lengths**-2.0) + np.diag(noise**2 + self._variances + 1e-8)

    def _compute_likelihood(self, lengths: np.ndarray, noise: float) -> float:
        factor, lower = cho_factor(self._compute_covariance(lengths, noise), lower=True)
        return float(-0.5 * self._target @ cho_solve((factor, lower), self._target) - np.log(np.diag(factor)).sum())

    def predict(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns mean and standard deviation of the scores at `places`, `(count, dimensions)`."""
        cross = _matern(np.square(places[:, None] - self.places[None]) @ self._lengths**-2.0)
        mean = cross @ self._weights
        variance = 1.0 - np.einsum("ij,ji->i", cross, cho_solve(self._factor, cross.T))
        return self._mean + self._scale * mean, self._scale * np.sqrt(np.maximum(variance, 1e-12))

    def expected_improvement(self, places: np.ndarray) -> np.ndarray:
        """Returns the expected improvement at `places` over the best predicted score of the trials."""
        best = self.predict(self.places)[0].max()
        mean, deviation = self.predict(places)
        ratio = (mean - best) / deviation
        improvement: np.ndarray = deviation * (ratio * norm.cdf(ratio) + norm.pdf(ratio))
        return improvement


def _matern(squared: np.ndarray) -> np.ndarray:
    distance = np.sqrt(5.0 * squared)
    covariance: np.ndarray = (1.0 + distance + distance**2 / 3.0) * np.exp(-distance)
    return covariance


def predict_final_scores(trials: Sequence[Trial], objective: Objective) -> tuple[np.ndarray, np.ndarray]:
    """Returns the scores that trials would have at the end of the longest curve, and their standard deviations.

    A trial that was stopped early is extrapolated by the mean gain per epoch of the trials that continued; the more these gains
    differ, the larger its standard deviation.
    """
    curves = [[trial.value(objective, epoch + 1) for epoch in range(trial.epochs)] for trial in trials]
    longest = max(map(len, curves))
    gains, variances = np.zeros(longest), np.zeros(longest)  # from each epoch to the next
    for epoch in range(1, longest):
        steps = [curve[epoch] - curve[epoch - 1] for curve in curves if len(curve) > epoch]
        gains[epoch - 1] = np.mean(steps)
        variances[epoch - 1] = np.var(steps) if len(steps) > 1 else np.var(gains[:epoch])
    scores = [curve[-1] + gains[len(curve) - 1 : longest - 1].sum() for curve in curves]
    noise_std = [np.sqrt(variances[len(curve) - 1 : longest - 1].sum()) for curve in curves]
    return np.array(scores), np.array(noise_std)
