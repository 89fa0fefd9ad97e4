"""A process that takes part in a search, on any machine."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(kw_only=True)
class Participant:
    """A process that takes part in a search, and what it has trained.

    Args:
        name: Unique in the search; its workers are called `NAME-0`, `NAME-1`, ...
        host: Name of its machine.
        workers: Number of trials that it trains in parallel.
        versions: Of the packages that a result depends on.
        joined: Running time of the search when it joined, seconds.
        left: Likewise when it left, or was lost; None while it takes part.
        lost: Whether it left without a word.
        trials: Numbers of the trials that it started or continued.
        epochs: Epochs that it trained.
        seconds: Training time with validation.
    """

    name: str
    host: str = ""
    workers: int = 1
    versions: Mapping[str, Any] = field(default_factory=dict)
    joined: float = 0.0
    left: float | None = None
    lost: bool = False
    trials: set[int] = field(default_factory=set)
    epochs: int = 0
    seconds: float = 0.0


def participant_name(worker: str) -> str:
    """Returns the name of the process that a worker belongs to.

    >>> participant_name("gpu-07-3f9c-1")
    'gpu-07-3f9c'
    """
    return worker.rpartition("-")[0] or worker
