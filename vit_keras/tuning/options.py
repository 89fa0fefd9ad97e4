"""Options of a search."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vit_keras.errors import InvalidArgumentError
from vit_keras.tuning.strategy.halving import make_rungs
from vit_keras.tuning.workers.worker import TrialLimits


@dataclass(frozen=True, kw_only=True)
class TunerOptions:
    """Options of a search; the defaults suit most.

    Args:
        epochs: Full horizon of a trial.
        first_rung: Epochs after which trials are first compared.
        factor: One of so many trials at a rung is promoted.
        workers: Processes that train in parallel on this machine.
        seed: Random seed of proposals, weights and data order.
        trial_limits: What one trial may use.
        warm_start: Run directories of earlier searches whose best trials are tried first.
    """

    epochs: int = 8
    first_rung: int = 1
    factor: float = 2.0
    workers: int = 1
    seed: int = 0
    trial_limits: TrialLimits = field(default_factory=TrialLimits)
    warm_start: Sequence[str | Path] = ()

    def __post_init__(self) -> None:
        for name in ("epochs", "first_rung", "workers"):
            if type(getattr(self, name)) is not int or getattr(self, name) < 1:
                raise InvalidArgumentError(f"{name} must be a positive integer, got {getattr(self, name)!r}.")
        if type(self.seed) is not int or self.seed < 0:
            raise InvalidArgumentError(f"seed must be an integer of at least 0, got {self.seed!r}.")
        make_rungs(self.epochs, first=self.first_rung, factor=self.factor)
