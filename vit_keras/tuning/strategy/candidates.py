"""Configurations that a search may try: legal values of a hypermodel's space within its limits."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from vit_keras.tuning.space.search_space import Values
from vit_keras.tuning.space.searchable import Searchable

_STEP = 0.15  # standard deviation of a small change, fraction of a dimension's range
_CHANGED = 2.0  # mean number of dimensions in a small change
_TRIES = 20  # draws per configuration that is asked for, before the space counts as exhausted


class HypermodelCandidates:
    """Draws configurations from the space of a hypermodel.

    Those of `warm`, such as the best of an earlier search, come first; those outside the space are skipped. With `latency` every
    shape's latency is measured, as an objective needs it.
    """

    def __init__(self, hypermodel: Searchable, *, warm: Sequence[Values] = (), latency: bool = False) -> None:
        self.hypermodel = hypermodel
        self.latency = latency
        self.space = hypermodel.space
        self._warm = [values for values in warm if self.space.has(values) and not hypermodel.find_problems(values)]

    def first(self) -> Iterator[tuple[str, Values]]:
        """Yields origin and values of what is tried before anything is known."""
        yield "default", self.hypermodel.default_values()
        yield from (("warm", values) for values in self._warm)

    def draw(self, count: int, rng: np.random.Generator) -> list[Values]:
        """Returns random configurations; fewer than `count` if hardly any are within the limits."""
        return self._select_legal((self.hypermodel.draw(rng) for _ in range(_TRIES * count)), count)

    def draw_near(self, values: Values, count: int, rng: np.random.Generator) -> list[Values]:
        """Returns configurations that differ little from the given one."""
        return self._select_legal((self._perturb(values, rng) for _ in range(_TRIES * count)), count)

    def encode(self, values: Values) -> np.ndarray:
        """Returns a configuration as a point of the unit cube."""
        return self.space.encode(values)

    def make_key(self, values: Values) -> str:
        """Returns a string that is equal for configurations that train the same."""
        return self.hypermodel.make_key(values)

    def compute_costs(self, values: Mapping[str, Any]) -> dict[str, float]:
        """Returns what is known of a configuration before it is trained."""
        costs = dict(self.hypermodel.compute_costs(values))
        if self.latency:
            config = self.hypermodel.model_config(values)
            costs["latency"] = self.hypermodel.latencies.measure(config, num_classes=self.hypermodel.num_classes)
        return costs

    def _perturb(self, values: Values, rng: np.random.Generator) -> Values:
        dimensions = self.space.dimensions
        changed = dict(values)
        for name, dimension in dimensions.items():
            if rng.random() < _CHANGED / len(dimensions):
                place = dimension.to_unit(values[name]) + _STEP * rng.normal()
                changed[name] = dimension.from_unit(float(np.clip(place, 0.0, 1.0)))
        return self.hypermodel.make_legal(changed)

    def _select_legal(self, drawn: Iterator[Values], count: int) -> list[Values]:
        legal: list[Values] = []
        for values in drawn:
            if not self.hypermodel.find_problems(values):
                legal.append(values)
                if len(legal) == count:
                    break
        return legal
