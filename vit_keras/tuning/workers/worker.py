"""A worker process that trains trials, and the limits that are enforced on it from outside."""

import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from vit_keras.runtime.worker_process import WorkerDiedError, WorkerProcess

_MODULE = "vit_keras.tuning.workers.runner"
_POLL_SECONDS = 0.25
_START_SECONDS = 300.0  # until a backend is imported
OnEpoch = Callable[[int, dict[str, float], float], bool]


@dataclass(frozen=True, kw_only=True)
class TrialLimits:
    """What one trial may use.

    Args:
        seconds: Wall time of one call of `train`; None for no limit.
        memory: Bytes of the process; None for no limit.
        silence: Seconds without a training step or the end of an epoch, compilation included, after which the process counts as hung.
    """

    seconds: float | None = None
    memory: int | None = None
    silence: float = 600.0


@dataclass(frozen=True)
class Outcome:
    """How a task ended: "DONE" with a value, "STOPPED" if the process was asked to and saved first, or one of `study.FAULTS`."""

    state: str
    value: Any = None
    reason: str = ""


class Worker:
    """Trains one trial at a time in a separate process, so that a crash ends that trial alone.

    The process is reused for the next trial, with its compiled programs, and replaced when it died or was killed. Where the file
    `heartbeat` is no longer changed, because the process that makes this object was stopped, it saves the trial and ends it.
    """

    def __init__(self, payload: Path, log: Path, *, limits: TrialLimits, heartbeat: Path) -> None:
        self.payload = payload
        self.log = log
        self.limits = limits
        self.heartbeat = heartbeat
        self._process: WorkerProcess | None = None

    def train(self, values: Mapping[str, Any], *, epochs: int, folder: Path, on_epoch: OnEpoch) -> Outcome:
        """Trains a trial up to an epoch; the outcome's value says whether it reached the full horizon.

        `on_epoch` gets the epochs done, and the metrics and seconds of the last one, and returns whether to continue.
        """
        task = {"do": "train", "values": dict(values), "epochs": epochs, "folder": str(folder)}
        return self._run({**task, "heartbeat": str(self.heartbeat)}, on_epoch)

    def logged_metrics(self, values: Mapping[str, Any]) -> Outcome:
        """Finds the names of the metrics that training logs."""
        return self._run({"do": "logged_metrics", "values": dict(values)}, lambda *_: True)

    def interrupt(self) -> None:
        """Asks the process to finish its step, save and stop."""
        if self._process is not None:
            self._process.terminate()

    def close(self) -> None:
        """Ends the process."""
        if self._process is not None:
            self._process.kill()
        self._process = None

    def _run(self, task: dict[str, Any], on_epoch: OnEpoch) -> Outcome:
        try:
            process = self._start()
            began = time.monotonic()
            process.send(task)
            while True:
                message = self._receive(process, began, silence=self.limits.silence)
                if "epoch" in message:
                    proceed = on_epoch(message["epoch"], message["metrics"], message["seconds"])
                    process.send({"continue": proceed})
                elif "done" in message:
                    return Outcome("DONE", message["done"])
                elif "stopped" in message:
                    return Outcome("STOPPED")
                elif "failed" in message:
                    if message["failed"] == "OOM":
                        self.close()  # a backend may not have freed its memory
                    return Outcome(message["failed"], reason=message["message"])
        except _LimitReached as reached:
            self.close()
            return reached.outcome
        except WorkerDiedError:
            return self._died()

    def _start(self) -> WorkerProcess:
        """Returns the process, a new one if there is none or it has ended."""
        if self._process is None or not self._process.is_running:
            self.close()
            self._process = WorkerProcess(_MODULE, [str(self.payload), str(self.log)], user_code=True)
            self._receive(self._process, time.monotonic(), silence=_START_SECONDS)
        return self._process

    def _receive(self, process: WorkerProcess, began: float, *, silence: float) -> dict[str, Any]:
        """Returns the next message; raises `_LimitReached` for the first limit that is exceeded before it arrives."""
        last = time.monotonic()
        while True:
            self._check_limits(process, time.monotonic() - began, time.monotonic() - last, silence)
            try:
                return process.receive(_POLL_SECONDS)[0]
            except TimeoutError:
                continue

    def _check_limits(self, process: WorkerProcess, seconds: float, silent: float, silence: float) -> None:
        limits = self.limits
        if limits.seconds is not None and seconds > limits.seconds:
            raise _LimitReached("TIMEOUT", f"It took over {limits.seconds:g} s.")
        if silent > silence:
            raise _LimitReached("TIMEOUT", f"It hung: no step for {silence:g} s.")
        if limits.memory is not None:
            try:
                used = psutil.Process(process.pid).memory_info().rss
            except psutil.Error:
                return  # it has just ended, which `receive` notices
            if used > limits.memory:
                reason = f"It took {used / 2**30:.1f} GiB, over its limit of {limits.memory / 2**30:.1f} GiB."
                raise _LimitReached("OOM", reason)

    def _died(self) -> Outcome:
        code = self._process.wait() if self._process is not None else 0
        self.close()
        if code >= 0:
            return Outcome("KILLED", reason=f"Its process ended with exit code {code}; see the end of {self.log}.")
        name = signal.Signals(-code).name
        if name == "SIGKILL":
            name += ", as the system does when memory runs out"
        return Outcome("KILLED", reason=f"Its process was ended by {name}.")


class _LimitReached(Exception):  # noqa: N818  never leaves this module
    def __init__(self, state: str, reason: str) -> None:
        super().__init__(reason)
        self.outcome = Outcome(state, reason=reason)
