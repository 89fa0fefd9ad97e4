"""The best checkpoints of a run, and one model made of them that is better than each."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from vit_keras.errors import InvalidArgumentError, WeightMismatchError
from vit_keras.layers.base.checks import check_positive
from vit_keras.training.callbacks.averaging import ExponentialMovingAverage
from vit_keras.training.callbacks.monitoring import Direction, Monitor
from vit_keras.training.callbacks.snapshots import take_snapshot

Weights = Mapping[str, np.ndarray]
_DIFFERING = 5  # names in an error


def greedy_soup(
    candidates: Sequence[Weights], score: Callable[[Weights], float]
) -> tuple[dict[str, np.ndarray], list[int]]:
    """Returns the mean of those candidates that make it no worse, one after the other, and which they are.

    Paper: Wortsman et al. 2022, arXiv 2203.05482, algorithm 1.

    Args:
        candidates: Weights by name, the best first.
        score: How good weights are on held-out data, higher being better; what is not finite is never good enough.

    Raises:
        InvalidArgumentError: There is no candidate, or none with a finite score.
        WeightMismatchError: Candidates have other names or shapes than the first.

    Example:
        >>> candidates = [{"w": np.array(value)} for value in (1.0, 4.0, 2.5)]
        >>> greedy_soup(candidates, lambda weights: -abs(float(weights["w"]) - 1.7))
        ({'w': array(1.75)}, [0, 2])
    """
    if not candidates:
        raise InvalidArgumentError("A soup needs a candidate; there is none.")
    for number, candidate in enumerate(candidates[1:], 1):
        _check_alike(candidates[0], candidate, number)
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


def _check_alike(first: Weights, other: Weights, number: int) -> None:
    shapes = [{name: np.shape(array) for name, array in weights.items()} for weights in (first, other)]
    differing = sorted(
        name for name in shapes[0].keys() | shapes[1].keys() if shapes[0].get(name) != shapes[1].get(name)
    )
    if differing:
        raise WeightMismatchError(
            f"Candidate {number} has other weights than candidate 0, and their mean means nothing: {len(differing)} differ, such as "
            f"{differing[:_DIFFERING]}. A soup takes checkpoints of one model."
        )


def _mean(candidates: Sequence[Weights]) -> dict[str, np.ndarray]:
    """Returns each weight's mean in its own number format; whole numbers, such as counts, are the first's."""
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
        keep: How many; each takes as much memory as the model's weights.
        monitor: The number of an epoch that says how good it is; of two equals the earlier is better.
        better: Which way is better: "lower", "higher", or "auto" to go by the name.
        average: Whose averages are kept in place of the weights.

    Raises:
        InvalidArgumentError: An argument is not legal; in `fit`, that there is no such number.

    Example:
        >>> BestCheckpoints(keep=5, monitor="val_accuracy").weights
        []
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
        """The weights kept, the best first, as `snapshots.restore_snapshot` takes them."""
        return list(self._kept)

    def get_state(self) -> dict[str, Any]:
        """Returns all that `set_state` needs: numbers, epochs and weights."""
        kept = [{name: np.array(array) for name, array in weights.items()} for weights in self._kept]
        return {"values": list(self.values), "epochs": list(self.epochs), "weights": kept}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes on from what `get_state` gave."""
        self.values, self.epochs = list(state["values"]), list(state["epochs"])
        self._kept = [{name: np.array(array) for name, array in weights.items()} for weights in state["weights"]]

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Keeps the epoch's weights where they are among the best."""
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
        """Says so where there was nothing to go by."""
        if not self.values:
            self._monitor.check_found()
