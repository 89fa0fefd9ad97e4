"""What a search knows of its trials: the journal's records, folded. No Keras."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vit_keras.errors import CorruptFileError

STATES = ("QUEUED", "RUNNING", "COMPLETED", "PRUNED", "FAILED", "INVALID", "TIMEOUT", "OOM", "KILLED")
"""QUEUED waits for a worker, or at a rung for its promotion; the last seven are ends."""
FAULTS = ("FAILED", "INVALID", "TIMEOUT", "OOM", "KILLED")
Record = Mapping[str, Any]


@dataclass(kw_only=True)
class Trial:
    """One configuration and how far it was trained.

    Args:
        number: From 0, in the order of proposal.
        values: What was chosen, by the name of its dimension.
        origin: Who proposed it: "default", "prior", "warm", "random" or "model".
        costs: What is known before training, such as "params" and "macs".
        state: One of `STATES`.
        target: Epochs it was last told to reach.
        curve: One row of metrics an epoch.
        starts: How often it was begun since an epoch of it was finished.
        reason: Why it ended, where it did not complete.
        worker: Who trains it, while it runs.
        seconds: What training it took, validation with it.
        pace: Seconds of its last epoch, which does not compile as the first does.
    """

    number: int
    values: dict[str, Any]
    origin: str = "random"
    costs: dict[str, float] = field(default_factory=dict)
    state: str = "QUEUED"
    target: int = 0
    curve: list[dict[str, float]] = field(default_factory=list)
    starts: int = 0
    reason: str = ""
    worker: str = ""
    seconds: float = 0.0
    pace: float = 0.0

    @property
    def epochs(self) -> int:
        """Epochs it was trained for."""
        return len(self.curve)

    @property
    def is_waiting(self) -> bool:
        """Whether it stands at a rung, trained as far as it was told to."""
        return self.state == "QUEUED" and self.epochs >= self.target > 0


@dataclass(frozen=True)
class Objective:
    """What a search looks for.

    Args:
        name: A metric that training logs, such as "val_accuracy", or a cost: "params", "macs", "latency".
        direction: "max" or "min".
    """

    name: str
    direction: str

    def value(self, trial: Trial, epochs: int | None = None) -> float:
        """Returns what a trial is worth, so that more is better.

        Args:
            trial: A trial with at least that many epochs.
            epochs: Trained for how long; None for as long as it was.
        """
        sign = 1.0 if self.direction == "max" else -1.0
        if self.name in trial.costs:
            return sign * trial.costs[self.name]
        return sign * trial.curve[(epochs or trial.epochs) - 1][self.name]


class Study:
    """The trials of a search, brought up to date record by record.

    The same records make the same study, so a search that was killed goes on where its journal ends.

    Args:
        objectives: What is looked for; of several the best are those that no other beats in all.
        epochs: The full horizon.
        records: Of the journal, in order.

    Raises:
        CorruptFileError: A record does not follow from those before it.

    Example:
        >>> study = Study([Objective("val_accuracy", "max")], epochs=8)
        >>> study.add({"what": "proposed", "trial": 0, "values": {"num_layers": 4}, "origin": "default", "costs": {}})
        >>> study.trials[0].state
        'QUEUED'
    """

    def __init__(self, objectives: Sequence[Objective], *, epochs: int, records: Iterable[Record] = ()) -> None:
        self.objectives = tuple(objectives)
        self.epochs = epochs
        self.trials: list[Trial] = []
        self.refused: list[tuple[dict[str, Any], str]] = []
        self.seconds = 0.0
        for record in records:
            self.add(record)

    @property
    def objective(self) -> Objective:
        """The first objective: the one that learning curves are judged by."""
        return self.objectives[0]

    @property
    def best(self) -> Trial | None:
        """The best trial so far: of those that completed, so that all were trained alike, the best at the horizon; None before one did.

        It never gets worse. Of several objectives the first decides.
        """
        return next(iter(self.front()), None)

    @property
    def epochs_trained(self) -> int:
        """Epochs of all trials together."""
        return sum(trial.epochs for trial in self.trials)

    def add(self, record: Record) -> None:
        """Takes in what happened.

        Args:
            record: As the journal has it.

        Raises:
            CorruptFileError: It does not follow from those before it.
        """
        change: Callable[[Record], None] | None = getattr(self, f"_{record.get('what')}", None)
        if change is None:
            raise CorruptFileError(f"The journal has a record of an unknown kind, {record.get('what')!r}.")
        try:
            change(record)
        except (KeyError, IndexError, TypeError) as error:
            raise CorruptFileError(
                f"The journal has a record that does not follow from those before it: {record!r:.200}."
            ) from error
        self.seconds = max(self.seconds, float(record.get("at", 0.0)))

    def _study(self, record: Record) -> None:
        """What the search was begun with; `Journal.fingerprint` looks at it."""

    def _proposed(self, record: Record) -> None:
        if record["trial"] != len(self.trials):
            raise IndexError
        self.trials.append(
            Trial(
                number=record["trial"],
                values=dict(record["values"]),
                origin=record["origin"],
                costs=dict(record["costs"]),
            )
        )

    def _refused(self, record: Record) -> None:
        self.refused.append((dict(record["values"]), record["reason"]))

    def _started(self, record: Record) -> None:
        trial = self.trials[record["trial"]]
        trial.state, trial.target, trial.worker = "RUNNING", record["epochs"], record["worker"]
        trial.starts += 1

    def _epoch(self, record: Record) -> None:
        trial = self.trials[record["trial"]]
        if record["epoch"] <= trial.epochs:  # trained again after a crash, to the same numbers
            return
        if record["epoch"] != trial.epochs + 1:
            raise IndexError
        trial.curve.append(dict(record["metrics"]))
        trial.seconds += record["seconds"]
        trial.pace = record["seconds"]
        trial.starts = 1

    def _waiting(self, record: Record) -> None:
        """A trial got to the rung it was told to reach, or has to be begun again."""
        trial = self.trials[record["trial"]]
        trial.state, trial.worker, trial.reason = "QUEUED", "", record.get("reason", "")

    def _ended(self, record: Record) -> None:
        trial = self.trials[record["trial"]]
        if record["state"] not in STATES[2:]:
            raise KeyError(record["state"])
        trial.state, trial.worker, trial.reason = record["state"], "", record.get("reason", "")

    def ranked(self) -> list[Trial]:
        """Returns every trial that was trained and did not fail, the best first.

        Those trained further stand first: what was stopped early was worse than others then, and is comparable with none later. With
        several objectives the order among equals in epochs is by fronts.
        """
        judged = [trial for trial in self.trials if trial.epochs and trial.state not in FAULTS]
        return [
            trial
            for epochs in sorted({trial.epochs for trial in judged}, reverse=True)
            for trial in self.ordered([each for each in judged if each.epochs == epochs], epochs)
        ]

    def ordered(self, trials: Iterable[Trial], epochs: int | None = None) -> list[Trial]:
        """Returns trials in the order of what they are worth, the best first; of equals, the one that was worth more an epoch before.

        Args:
            trials: With at least that many epochs.
            epochs: Trained for how long; None for as long as each was.
        """

        def rank(trial: Trial) -> tuple[list[float], int]:
            last = epochs or trial.epochs
            return [-self.objective.value(trial, epoch) for epoch in range(last, 0, -1)], trial.number

        left = sorted(trials, key=rank)
        if len(self.objectives) == 1:
            return left
        values = {trial.number: [each.value(trial, epochs) for each in self.objectives] for trial in left}
        order: list[Trial] = []
        while left:
            front = [
                trial
                for trial in left
                if not any(dominates(values[other.number], values[trial.number]) for other in left)
            ]
            order += front
            left = [trial for trial in left if trial not in front]
        return order

    def front(self) -> list[Trial]:
        """Returns the completed trials that no other completed trial beats in all objectives."""
        done = [trial for trial in self.trials if trial.state == "COMPLETED"]
        values = {trial.number: [each.value(trial) for each in self.objectives] for trial in done}
        return [
            trial
            for trial in self.ordered(done)
            if not any(dominates(values[other.number], values[trial.number]) for other in done)
        ]


def dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    """Returns whether one is at least as good in everything and better in something; more is better.

    Example:
        >>> dominates([1.0, 2.0], [1.0, 1.0]), dominates([1.0, 1.0], [1.0, 1.0])
        (True, False)
    """
    return all(a >= b for a, b in zip(one, other, strict=True)) and any(a > b for a, b in zip(one, other, strict=True))
