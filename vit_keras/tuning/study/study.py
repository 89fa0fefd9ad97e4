"""The trials of a search, rebuilt from the records of its journal. Imports no Keras."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vit_keras.errors import CorruptFileError
from vit_keras.tuning.study.objectives import Objective
from vit_keras.tuning.study.participant import Participant, participant_name

FAULTS = ("FAILED", "INVALID", "TIMEOUT", "OOM", "KILLED")
STATES = ("QUEUED", "RUNNING", "COMPLETED", "PRUNED", *FAULTS)
"""QUEUED waits for a worker, or at a rung for promotion; all but it and RUNNING are final."""
Record = Mapping[str, Any]


@dataclass(kw_only=True)
class Trial:
    """One configuration and its training so far.

    Args:
        number: From 0, in the order of proposal.
        values: Value of each dimension by name.
        origin: How it was proposed: "default", "warm", "random" or "model".
        costs: Known before training, such as "params" and "macs".
        state: One of `STATES`.
        target: Epochs it was last asked to reach.
        curve: Metrics by name, one row per epoch.
        starts: Number of starts since its last finished epoch.
        reason: Why it ended, if it did not complete.
        worker: Worker that trains it while it runs.
        workers: Every worker that trained it, in order.
        seconds: Training time with validation.
        pace: Seconds of its last epoch; unlike the first it includes no compilation.
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
    workers: list[str] = field(default_factory=list)
    seconds: float = 0.0
    pace: float = 0.0

    @property
    def epochs(self) -> int:
        """Epochs it was trained for."""
        return len(self.curve)

    def value(self, objective: Objective, epochs: int | None = None) -> float:
        """Returns an objective's value after `epochs` (by default the last), negated for "min", so that more is better."""
        sign = 1.0 if objective.direction == "max" else -1.0
        if objective.name in self.costs:
            return sign * self.costs[objective.name]
        return sign * self.curve[(epochs or self.epochs) - 1][objective.name]

    @property
    def is_waiting(self) -> bool:
        """Whether it has reached its target and waits for promotion."""
        return self.state == "QUEUED" and self.epochs >= self.target > 0


class Study:
    """The trials of a search, updated record by record; the same records give the same study.

    Args:
        objectives: With several, the best trials are the Pareto front.
        epochs: Full horizon of a trial.
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
        self.participants: dict[str, Participant] = {}
        """Every process that took part, by name."""
        self.budget = ""
        """The budget as text; empty in a search of an earlier version, which did not record it."""
        self.is_finished = False
        """Whether the budget is spent; a larger one continues the search."""
        self.finished_by = ""
        """The process that found it spent."""
        for record in records:
            self.add(record)

    @property
    def objective(self) -> Objective:
        """The first objective, by which trials are promoted and stopped."""
        return self.objectives[0]

    @property
    def best(self) -> Trial | None:
        """The best completed trial, by the first objective; None before one completed. It never gets worse."""
        return next(iter(self.front), None)

    @property
    def running(self) -> list[Trial]:
        """Every trial that a worker trains now."""
        return [trial for trial in self.trials if trial.state == "RUNNING"]

    @property
    def active(self) -> list[Participant]:
        """Every process that takes part now."""
        return [each for each in self.participants.values() if each.left is None]

    @property
    def epochs_trained(self) -> int:
        """Epochs of all trials together."""
        return sum(trial.epochs for trial in self.trials)

    @property
    def trained(self) -> list[Trial]:
        """Every trial with an epoch and without a fault, in the order of proposal."""
        return [trial for trial in self.trials if trial.epochs and trial.state not in FAULTS]

    @property
    def front(self) -> list[Trial]:
        """The completed trials that no other completed trial dominates, the best by the first objective first."""
        completed = [trial for trial in self.trials if trial.state == "COMPLETED"]
        return self._select_undominated(self.order(completed))

    @property
    def ranking(self) -> list[Trial]:
        """Every trained trial without a fault, the best first.

        Trials trained for more epochs come first: a trial that was stopped early was worse than others at that epoch, and cannot be
        compared later. With several objectives, trials of equal epochs are in the order of their fronts.
        """
        trained = self.trained
        return [
            trial
            for epochs in sorted({trial.epochs for trial in trained}, reverse=True)
            for trial in self.order([each for each in trained if each.epochs == epochs], epochs)
        ]

    def order(self, trials: Iterable[Trial], epochs: int | None = None) -> list[Trial]:
        """Returns trials ordered by their objectives, the best first; ties are decided by the epoch before."""

        def sort_key(trial: Trial) -> tuple[list[float], int]:
            return [-trial.value(self.objective, epoch) for epoch in range(epochs or trial.epochs, 0, -1)], trial.number

        left = sorted(trials, key=sort_key)
        if len(self.objectives) == 1:
            return left
        order: list[Trial] = []
        while left:
            front = self._select_undominated(left, epochs)
            order += front
            left = [trial for trial in left if trial not in front]
        return order

    def _select_undominated(self, trials: Sequence[Trial], epochs: int | None = None) -> list[Trial]:
        values = [[trial.value(each, epochs) for each in self.objectives] for trial in trials]
        pairs = zip(trials, values, strict=True)
        return [trial for trial, own in pairs if not any(dominates(other, own) for other in values)]

    def add(self, record: Record) -> None:
        """Updates the study with one record; raises `CorruptFileError` if it does not follow from those before it."""
        update: Callable[[Record], None] | None = getattr(self, f"_{record.get('what')}", None)
        if update is None:
            raise CorruptFileError(f"The journal has a record of an unknown kind, {record.get('what')!r}.")
        try:
            update(record)
        except (KeyError, IndexError, TypeError) as error:
            raise CorruptFileError(
                f"The journal has a record that does not follow from those before it: {record!r:.200}."
            ) from error
        self.seconds = max(self.seconds, float(record.get("at", 0.0)))

    # One method per kind of record.

    def _study(self, record: Record) -> None:
        """How the search was started; `Journal.check_fingerprint` reads it."""

    def _budget(self, record: Record) -> None:
        self.budget, self.is_finished = record["budget"], False

    def _finished(self, record: Record) -> None:
        self.is_finished, self.finished_by = True, record["participant"]

    def _joined(self, record: Record) -> None:
        name, fields = record["participant"], {each: record[each] for each in ("host", "workers", "versions")}
        if name in self.participants:  # it was lost and came back
            self.participants[name].left, self.participants[name].lost = None, False
        else:
            self.participants[name] = Participant(name=name, joined=record["at"], **fields)

    def _left(self, record: Record) -> None:
        participant = self.participants[record["participant"]]
        participant.left, participant.lost = record["at"], record.get("lost", False)

    def _proposed(self, record: Record) -> None:
        if record["trial"] != len(self.trials):
            raise IndexError
        values, costs = dict(record["values"]), dict(record["costs"])
        self.trials.append(Trial(number=record["trial"], values=values, origin=record["origin"], costs=costs))

    def _refused(self, record: Record) -> None:
        self.refused.append((dict(record["values"]), record["reason"]))

    def _started(self, record: Record) -> None:
        trial = self.trials[record["trial"]]
        trial.state, trial.target, trial.worker = "RUNNING", record["epochs"], record["worker"]
        trial.starts += 1
        if trial.worker not in trial.workers[-1:]:
            trial.workers.append(trial.worker)
        if (participant := self._find_participant(trial)) is not None:
            participant.trials.add(trial.number)

    def _epoch(self, record: Record) -> None:
        trial = self.trials[record["trial"]]
        if record["epoch"] <= trial.epochs:  # trained again after a crash, with the same result
            return
        if record["epoch"] != trial.epochs + 1:
            raise IndexError
        trial.curve.append(dict(record["metrics"]))
        trial.seconds += record["seconds"]
        trial.pace = record["seconds"]
        trial.starts = 1
        if (participant := self._find_participant(trial)) is not None:
            participant.epochs += 1
            participant.seconds += record["seconds"]

    def _waiting(self, record: Record) -> None:
        """A trial reached its rung, or has to be started again."""
        trial = self.trials[record["trial"]]
        trial.state, trial.worker, trial.reason = "QUEUED", "", record.get("reason", "")
        if not trial.reason and trial.epochs < trial.target:
            trial.starts -= 1  # its worker left in good order

    def _ended(self, record: Record) -> None:
        trial = self.trials[record["trial"]]
        if record["state"] not in STATES[2:]:
            raise KeyError(record["state"])
        trial.state, trial.worker, trial.reason = record["state"], "", record.get("reason", "")

    def _find_participant(self, trial: Trial) -> Participant | None:
        """Returns the process that trains a trial; None in a search of an earlier version."""
        return self.participants.get(participant_name(trial.worker))


def dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    """Returns whether one is at least as good in every objective and better in one; more is better."""
    return all(a >= b for a, b in zip(one, other, strict=True)) and any(a > b for a, b in zip(one, other, strict=True))
