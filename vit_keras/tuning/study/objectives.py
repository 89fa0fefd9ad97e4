"""What a search maximizes or minimizes."""

from collections.abc import Sequence
from dataclasses import dataclass

from vit_keras.errors import InvalidArgumentError

COSTS = ("params", "macs", "latency")
"""Objectives that are known before training; less is better."""
_KNOWN_DIRECTIONS = ("accuracy", "loss", "precision", "recall", "auc", "r2", "error", *COSTS)


@dataclass(frozen=True)
class Objective:
    """A metric that training logs, such as "val_accuracy", or one of `COSTS`, with the direction "max" or "min"."""

    name: str
    direction: str


def parse_objectives(names: str | Sequence[str]) -> list[Objective]:
    """Returns objectives with their directions; the first must be a metric.

    >>> parse_objectives(["val_accuracy", "params"])
    [Objective(name='val_accuracy', direction='max'), Objective(name='params', direction='min')]
    """
    listed = [names] if isinstance(names, str) else list(names)
    if not listed or len(set(listed)) != len(listed) or listed[0] in COSTS:
        raise InvalidArgumentError(
            f"objective={names!r}: expected a metric that training logs, such as 'val_accuracy', or a list that begins with one and goes "
            f"on with different metrics and any of {', '.join(COSTS)}."
        )
    unknown = [name for name in listed if not name.endswith(_KNOWN_DIRECTIONS)]
    if unknown:
        raise InvalidArgumentError(
            f"objective: it is not known whether more or less of {', '.join(unknown)} is better; use a metric whose name ends in accuracy, "
            "auc, precision, recall, r2, error or loss."
        )
    return [Objective(name, "min" if name in COSTS or name.endswith(("loss", "error")) else "max") for name in listed]
