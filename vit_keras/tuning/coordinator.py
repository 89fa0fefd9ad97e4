"""One process's part in a search that many share: it claims trials, records their epochs, and takes over those of lost workers.

Each decision is made from the whole journal and counts only if no other process has written since; otherwise it is made again. No
process is special: any may join, leave or be killed at any time, and the same records lead all of them to the same decisions.
"""

import platform
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from vit_keras.errors import ResumeError
from vit_keras.tuning.strategy.budget import Budget
from vit_keras.tuning.strategy.policy import Policy
from vit_keras.tuning.strategy.stopping import prune_reason
from vit_keras.tuning.study.heartbeat import BEAT_SECONDS, DEAD, LEASE_SECONDS, Heartbeat, Watch, beat_path
from vit_keras.tuning.study.journal import Journal, list_changes
from vit_keras.tuning.study.participant import participant_name
from vit_keras.tuning.study.run_directory import WORKERS
from vit_keras.tuning.study.study import FAULTS, Study, Trial

MOST_STARTS = 3  # of a trial whose process dies before it finishes an epoch
Record = dict[str, Any]


class Coordinator:
    """One process's part in a shared search.

    Args:
        policy: Decides what a free worker does next.
        study: The trials; updated here alone, from the journal.
        journal: Shared by all processes.
        compute_costs: Returns what is known of values before training, such as parameters.
        on_event: Gets each record of the journal, also those of other processes, after the study has it.
    """

    def __init__(
        self,
        policy: Policy,
        study: Study,
        journal: Journal,
        *,
        compute_costs: Callable[[Mapping[str, Any]], dict[str, float]],
        on_event: Callable[[Mapping[str, Any]], object] = lambda record: None,
    ) -> None:
        self.policy = policy
        self.study = study
        self.journal = journal
        self.compute_costs = compute_costs
        self.on_event = on_event
        host = re.sub(r"[^\w.-]+", "-", platform.node()) or "host"
        self.name = f"{host}-{secrets.token_hex(3)}"
        self.closing = False
        """Set to end every trial of this process after its epoch and to start no other."""
        self.folder = journal.path.parent / WORKERS
        self._watch = Watch(self.folder)
        self._lock = threading.RLock()
        self._applied = len(journal.records)
        if study.budget:
            self.policy = replace(policy, budget=Budget.parse(study.budget))
        self._waited = -1  # number of records on which there was nothing to do but to wait
        self._joined: Record = {"what": "joined", "participant": self.name, "host": host}
        # Of each worker of this process: the trial, and what ends it.
        self._running: dict[str, tuple[int, Callable[[], object]]] = {}

    @property
    def budget(self) -> Budget:
        """The budget of the whole search."""
        return self.policy.budget

    @property
    def ended_search(self) -> bool:
        """Whether it was this process that found the budget spent."""
        return self.study.is_finished and self.study.finished_by == self.name

    @property
    def heartbeat_file(self) -> Path:
        """The file that this process changes while it lives."""
        return beat_path(self.folder, self.name)

    @contextmanager
    def join(self, *, workers: int, versions: Mapping[str, Any], budget: Budget | None, resume: bool) -> Iterator[None]:
        """Takes part in the search inside the block.

        Args:
            workers: Number of trials that this process trains in parallel.
            versions: Of the packages that a result depends on.
            budget: Budget of the whole search; None for the recorded one.
            resume: Whether to continue a search that is finished, and to accept other versions if nobody else takes part.

        Raises:
            ResumeError: The other processes have other versions.
        """
        self.journal.start_clock()
        self._joined |= {"workers": workers, "versions": dict(versions)}
        with Heartbeat(self.heartbeat_file, seconds=lambda: self.journal.seconds, on_beat=self._on_beat):
            self._check_versions(resume=resume)
            self._transact(lambda: self._enter(budget=budget, resume=resume))
            try:
                yield
            finally:
                self._transact(self._leave)

    def claim(self, worker: str, *, abandon: Callable[[], object] = lambda: None) -> Trial | str:
        """Returns a trial for a free worker, or "wait" or "stop" if there is nothing to do for it.

        Args:
            worker: A name that begins with `name`.
            abandon: Called where another process has taken the trial over, because this one was silent for too long.
        """
        claimed: list[int] = []
        answer = "stop"
        if self.closing:
            return answer

        def decide() -> list[Record]:
            nonlocal answer
            claimed.clear()
            step = self.policy.decide(self.study, seconds=self.journal.seconds)
            answer = step.what
            if answer == "stop":
                return self._finish()
            if answer == "wait":
                return []
            was_lost = self.study.participants[self.name].left is not None
            records = [self._joined] if was_lost else []
            number = len(self.study.trials) if step.trial is None else step.trial.number
            if step.trial is None:
                values = step.values or {}
                costs = self.compute_costs(values)
                proposed = {
                    "what": "proposed",
                    "trial": number,
                    "values": values,
                    "origin": step.origin,
                    "costs": costs,
                }
                records.append(proposed)
            claimed.append(number)
            return [*records, {"what": "started", "trial": number, "epochs": step.epochs, "worker": worker}]

        self.take_over_lost()
        if self._waited == self._applied:
            return "wait"  # only a new record can change that
        self._transact(decide)
        if answer == "wait":
            self._waited = self._applied
        if not claimed:
            return answer
        self._running[worker] = claimed[0], abandon
        return self.study.trials[claimed[0]]

    def report(self, number: int, worker: str, *, epoch: int, metrics: Mapping[str, float], seconds: float) -> bool:
        """Records an epoch of a trial, and returns whether to continue with it."""

        def decide() -> list[Record]:
            if not self.holds(number, worker):
                return []
            return [{"what": "epoch", "trial": number, "epoch": epoch, "metrics": dict(metrics), "seconds": seconds}]

        self._transact(decide)
        if not self.holds(number, worker):
            self._abandon(worker)
            return False
        budget = self.budget.seconds
        is_over_budget = budget is not None and self.journal.seconds > budget
        return not (self.closing or is_over_budget or prune_reason(self.study, self.study.trials[number]))

    def release(self, number: int, worker: str, *, fault: str = "", reason: str = "") -> None:
        """Records how a worker left a trial: with a fault of `FAULTS` and its reason, or without one."""

        def decide() -> list[Record]:
            trial = self.study.trials[number]
            if not self.holds(number, worker):
                return []  # it was taken over
            if fault and not (fault == "KILLED" and self.closing):  # then its process was ended here, with the search
                return [self._fail(trial, fault, reason)]
            pruned = prune_reason(self.study, trial)
            if trial.epochs >= self.study.epochs:
                return [{"what": "ended", "trial": number, "state": "COMPLETED"}]
            if pruned and trial.epochs < trial.target:
                return [{"what": "ended", "trial": number, "state": "PRUNED", "reason": pruned}]
            return [{"what": "waiting", "trial": number}]

        self._running.pop(worker, None)
        self._transact(decide)

    def holds(self, number: int, worker: str) -> bool:
        """Returns whether a trial is a worker's, as far as the journal was read."""
        trial = self.study.trials[number]
        return trial.state == "RUNNING" and trial.worker == worker

    def take_over_lost(self) -> None:
        """Requeues the trials of processes that are silent, and notes that those were lost."""
        with self._lock:
            self._sync()
            lost = {name: silence for name in self._others() if (silence := self._silence(name)) >= LEASE_SECONDS}
            if not lost:
                return

        def decide() -> list[Record]:
            records: list[Record] = []
            for name, silence in lost.items():
                if name not in self._others() or self._silence(name) < LEASE_SECONDS:
                    continue
                why = "ended without a word" if silence == DEAD else f"was silent for {LEASE_SECONDS:g} s"
                if name in self.study.participants:
                    records.append({"what": "left", "participant": name, "lost": True})
                records += [
                    self._fail(trial, "KILLED", f"Its process {name} {why}.")
                    for trial in self.study.running
                    if participant_name(trial.worker) == name
                ]
            return records

        self._transact(decide)

    def _check_versions(self, *, resume: bool) -> None:
        """Raises `ResumeError` where other processes have other versions; to resume, only those that are alive count."""
        with self._lock:
            self._sync()
        last = next(reversed(self.study.participants.values()), None)
        changed = list_changes(last.versions, self._joined["versions"]) if last is not None else ""
        if not changed or (resume and not self._wait_for_signs_of_life()):
            return
        raise ResumeError(
            f"{self.journal.path.parent}: the search's workers have other versions, so trials could not be compared: {changed}. Install "
            "their versions here, or wait until all of them have ended and resume the search with these."
        )

    def _wait_for_signs_of_life(self) -> bool:
        """Returns whether another process is alive, which may take `LEASE_SECONDS`."""
        while waiting := [name for name in self._others() if self._silence(name) < LEASE_SECONDS]:
            if any(self._watch.has_changed(name) for name in waiting):
                return True
            time.sleep(BEAT_SECONDS / 10)
        return False

    def _enter(self, *, budget: Budget | None, resume: bool) -> list[Record]:
        records = [self._joined]
        others = [name for name in self._others() if self._silence(name) < LEASE_SECONDS]
        for name in others:
            self.journal.advance_clock(self._watch.running_seconds(name))
        text = str(budget) if budget is not None else self.study.budget
        if text and (text != self.study.budget or (resume and self.study.is_finished)):
            records.append({"what": "budget", "budget": text})
        if not resume:
            return records
        # Those that ran when the search was killed, and those that a smaller budget left at their rung.
        for trial in self.study.trials:
            is_killed = trial.state == "RUNNING" and participant_name(trial.worker) not in others
            is_at_rung = trial.epochs == trial.target and trial.epochs in self.policy.halving.rungs
            is_over = self.study.is_finished or not others
            if is_killed or (is_over and trial.state == "PRUNED" and is_at_rung):
                records.append({"what": "waiting", "trial": trial.number})
        return records

    def _leave(self) -> list[Record]:
        waiting = [
            {"what": "waiting", "trial": trial.number}
            for trial in self.study.running
            if participant_name(trial.worker) == self.name
        ]
        return [*waiting, {"what": "left", "participant": self.name}]

    def _finish(self) -> list[Record]:
        """Ends the search: trials that still wait at a rung were not promoted."""
        if self.study.is_finished:
            return []
        records: list[Record] = []
        for trial in self.study.trials:
            if trial.state == "QUEUED" and trial.epochs:
                reason = f"not promoted beyond epoch {trial.epochs}"
                records.append({"what": "ended", "trial": trial.number, "state": "PRUNED", "reason": reason})
        return [*records, {"what": "finished", "participant": self.name}]

    def _fail(self, trial: Trial, state: str, reason: str) -> Record:
        """Returns the end of a trial with a fault; one whose process was killed is started again first, since another may have caused it."""
        if state == "KILLED" and trial.starts < MOST_STARTS:
            return {"what": "waiting", "trial": trial.number, "reason": reason}
        if state == "KILLED":
            reason = f"It was started {trial.starts} times without finishing an epoch. {reason}"
        return {
            "what": "ended",
            "trial": trial.number,
            "state": state if state in FAULTS else "FAILED",
            "reason": reason,
        }

    def _others(self) -> set[str]:
        """Returns the names of other processes that take part, or whose trials run."""
        names = {each.name for each in self.study.active}
        names |= {participant_name(trial.worker) for trial in self.study.running}
        return names - {self.name}

    def _silence(self, name: str) -> float:
        """Returns for how many seconds a process was silent; the processes of an earlier version's search have ended."""
        return self._watch.silence(name) if name in self.study.participants else DEAD

    def _on_beat(self, gap: float) -> None:
        """Looks for trials that were taken over; after a long gap with the journal locked, so that none is while this process wakes up."""
        if gap > LEASE_SECONDS / 2:
            self._transact(list)
        elif self._lock.acquire(timeout=BEAT_SECONDS / 2):
            try:
                self._sync()
            finally:
                self._lock.release()
        else:
            return  # a proposal that measures latencies takes long, and is no reason to be silent
        for worker, (number, _) in list(self._running.items()):
            if not self.holds(number, worker):
                self._abandon(worker)
        self.take_over_lost()

    def _abandon(self, worker: str) -> None:
        _, abandon = self._running.pop(worker, (0, lambda: None))
        abandon()

    def _transact(self, decide: Callable[[], Sequence[Record]]) -> None:
        """Writes the records of a decision; it is made again if another process has written since."""
        with self._lock, self.journal.lock:
            while True:
                self._sync()
                records = decide()
                done = not records or self.journal.commit(records)
                self._sync()
                if done:
                    return

    def _sync(self) -> None:
        """Updates the study with what any process has written."""
        self.journal.read()
        while self._applied < len(self.journal.records):
            record = self.journal.records[self._applied]
            self.study.add(record)
            self._applied += 1
            if record["what"] == "budget":
                self.policy = replace(self.policy, budget=Budget.parse(self.study.budget))
            self.on_event(record)
