"""What a search may try: the space of a hypermodel, within its limits."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from vit_keras.tuning.space.searchable import Searchable
from vit_keras.tuning.strategy.sampling import Values

_STEP = 0.15  # of a dimension's range, standard deviation of a small change
_CHANGED = 2.0  # dimensions of a small change, in the mean
_TRIES = 20  # times as many draws as are asked for, before the space counts as used up


class HypermodelCandidates:
    """Draws from the space of a hypermodel.

    Args:
        hypermodel: `ViTHyperModel` or `FinetuningHyperModel`.
        warm: What is tried before anything else, such as the best of an earlier search; what the space does not have is left out.
        latency: Whether it is measured for every shape, where it is looked for and not only limited.
    """

    def __init__(self, hypermodel: Searchable, *, warm: Sequence[Values] = (), latency: bool = False) -> None:
        self.hypermodel = hypermodel
        self.latency = latency
        self.space = hypermodel.space
        self._warm = [values for values in warm if self.space.has(values) and self._is_legal(values)]

    def first(self) -> Iterator[tuple[str, Values]]:
        """Yields what is worth trying before anything is known."""
        yield "default", self.hypermodel.default_values()
        yield from (("warm", values) for values in self._warm)

    def draw(self, count: int, rng: np.random.Generator) -> list[Values]:
        """Returns configurations drawn at random.

        Args:
            count: How many; fewer where hardly any are within the limits.
            rng: Draws.
        """
        return self._legal((self.hypermodel.draw(rng) for _ in range(_TRIES * count)), count)

    def near(self, values: Values, count: int, rng: np.random.Generator) -> list[Values]:
        """Returns configurations that differ little from one.

        Args:
            values: That one.
            count: How many.
            rng: Draws.
        """
        return self._legal((self._nudged(values, rng) for _ in range(_TRIES * count)), count)

    def encode(self, values: Values) -> np.ndarray:
        """Returns a configuration as a point of the unit cube.

        Args:
            values: One.
        """
        point: np.ndarray = self.space.encode(values)
        return point

    def key(self, values: Values) -> str:
        """Returns the same word for configurations that train the same.

        Args:
            values: One.
        """
        return str(self.hypermodel.key(values))

    def costs(self, values: Mapping[str, Any]) -> dict[str, float]:
        """Returns what is known of a configuration before it is trained.

        Args:
            values: One.
        """
        found = dict(self.hypermodel.costs(values))
        if self.latency:
            config = self.hypermodel.model_config(values)
            found["latency"] = self.hypermodel.latencies.of(config, num_classes=self.hypermodel.num_classes)
        return found

    def _nudged(self, values: Values, rng: np.random.Generator) -> Values:
        dimensions = self.space.dimensions
        nudged = dict(values)
        for name, dimension in dimensions.items():
            if rng.random() < _CHANGED / len(dimensions):
                place = dimension.to_unit(values[name]) + _STEP * rng.normal()
                nudged[name] = dimension.from_unit(float(np.clip(place, 0.0, 1.0)))
        fitted: Values = self.hypermodel.fitted(nudged)
        return fitted

    def _legal(self, drawn: Iterator[Values], count: int) -> list[Values]:
        found: list[Values] = []
        for values in drawn:
            if self._is_legal(values):
                found.append(values)
                if len(found) == count:
                    break
        return found

    def _is_legal(self, values: Values) -> bool:
        return not self.hypermodel.problems(values)
