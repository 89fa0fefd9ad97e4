"""Model soups: averages the weights of the best epochs of a run."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from vit_keras.errors import InvalidArgumentError, WeightMismatchError
from vit_keras.layers.base.checks import check_positive
from vit_keras.training.callbacks.averaging import ExponentialMovingAverage
from vit_keras.training.callbacks.monitoring import Direction, Monitor
from vit_keras.training.callbacks.snapshots import take_snapshot
from vit_keras.validation import list_words

Weights = Mapping[str, np.ndarray]
_DIFFERING = 5  # names in an error


def greedy_soup(
    candidates: Sequence[Weights], score: Callable[[Weights], float]
) -> tuple[dict[str, np.ndarray], list[int]]:
    """Returns the average of the candidates that do not lower the score, added greedily, and their indices.

    Paper: Wortsman et al. 2022, arXiv 2203.05482, algorithm 1.

    Args:
        candidates: Weights by name, best first.
        score: Score of weights on holdout data, higher is better; a score that is not finite is never accepted.

    Raises:
        InvalidArgumentError: There are no candidates, or none with a finite score.
        WeightMismatchError: A candidate has other names or shapes than the first.

    Example:
        >>> candidates = [{"w": np.array(value)} for value in (1.0, 4.0, 2.5)]
        >>> greedy_soup(candidates, lambda weights: -abs(float(weights["w"]) - 1.7))
        ({'w': array(1.75)}, [0, 2])
    """
    if not candidates:
        raise InvalidArgumentError("A soup needs at least one candidate.")
    for number, candidate in enumerate(candidates[1:], 1):
        _check_same_shapes(candidates[0], candidate, number)
    best: float | None = None
    chosen: list[int] = []
    soup: dict[str, np.ndarray] = {}
    for number in range(len(candidates)):
        tried = _mean([candidates[index] for index in [*chosen, number]])
        found = float(score(tried))
        if np.isfinite(found) and (best is None or found >= best):
            best, soup = found, tried
            chosen.append(number)
    if best is None:
        raise InvalidArgumentError(
            f"None of the {len(candidates)} candidates has a finite score, so no soup can be made of them."
        )
    return soup, chosen


def _check_same_shapes(first: Weights, other: Weights, number: int) -> None:
    shapes = [{name: np.shape(array) for name, array in weights.items()} for weights in (first, other)]
    differing = sorted(
        name for name in shapes[0].keys() | shapes[1].keys() if shapes[0].get(name) != shapes[1].get(name)
    )
    if differing:
        raise WeightMismatchError(
            f"Candidate {number} has other weights than candidate 0: {len(differing)} differ in name or shape, such as "
            f"{list_words(differing, limit=_DIFFERING)}. A soup needs checkpoints of one model."
        )


def _mean(candidates: Sequence[Weights]) -> dict[str, np.ndarray]:
    """Returns the mean of each weight in its dtype; integers, such as counts, are taken from the first candidate."""
    means: dict[str, np.ndarray] = {}
    for name, first in candidates[0].items():
        array = np.asarray(first)
        if array.dtype.kind not in "iub":
            total = sum(np.asarray(candidate[name], "float64") for candidate in candidates)
            array = np.asarray(total / len(candidates), array.dtype)
        means[name] = array
    return means


class BestCheckpoints(keras.callbacks.Callback):
    """Keeps the weights of the best epochs in memory, for a soup.

    Args:
        keep: Number of epochs; each takes as much memory as the model's weights.
        monitor: The metric that ranks epochs; of equal epochs, the earlier is better.
        better: "lower", "higher", or "auto" to decide by the name of the metric.
        average: A moving average to keep instead of the weights.

    Raises:
        InvalidArgumentError: An argument is not legal, or `fit` has no such metric.
    """

    def __init__(
        self,
        keep: int = 3,
        *,
        monitor: str = "val_loss",
        better: Direction = "auto",
        average: ExponentialMovingAverage | None = None,
    ) -> None:
        super().__init__()
        check_positive("BestCheckpoints", keep=keep)
        self.keep = keep
        self._monitor = Monitor(monitor, better=better)
        self.average = average
        self.values: list[float] = []
        self.epochs: list[int] = []
        self._kept: list[dict[str, np.ndarray]] = []

    @property
    def weights(self) -> list[dict[str, np.ndarray]]:
        """The weights kept, best first."""
        return list(self._kept)

    def get_state(self) -> dict[str, Any]:
        """Returns the state for `set_state`: values, epochs and weights."""
        kept = [{name: np.array(array) for name, array in weights.items()} for weights in self._kept]
        return {"values": list(self.values), "epochs": list(self.epochs), "weights": kept}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Restores the state that `get_state` returned."""
        self.values, self.epochs = list(state["values"]), list(state["epochs"])
        self._kept = [{name: np.array(array) for name, array in weights.items()} for weights in state["weights"]]

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Keeps the weights of the epoch if they are among the best."""
        value = self._monitor.value(logs)
        if value is None or not self._monitor.is_better(value, than=None):
            return
        place = len(self.values)
        while place and self._monitor.is_better(value, than=self.values[place - 1]):
            place -= 1
        if place == self.keep:
            return
        self.values.insert(place, value)
        self.epochs.insert(place, epoch)
        self._kept.insert(place, take_snapshot(self.model, average=self.average))
        del self.values[self.keep :], self.epochs[self.keep :], self._kept[self.keep :]

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Raises an error if no epoch had the metric."""
        if not self.values:
            self._monitor.check_found()
