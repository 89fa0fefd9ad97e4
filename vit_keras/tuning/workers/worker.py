"""A process that trains, held to its limits from outside."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

_POLL_SECONDS = 0.25
_START_SECONDS = 300.0  # until a backend is imported
OnEpoch = Callable[[int, dict[str, float], float], bool]


@dataclass(frozen=True, kw_only=True)
class TrialLimits:
    """What one trial may take.

    Args:
        seconds: Of the clock, a call of `train`; None for no limit.
        memory: Bytes of the process; None for no limit.
        silence: Seconds without a training step or an epoch's end after which the process hangs, compilation included.
    """

    seconds: float | None = None
    memory: int | None = None
    silence: float = 600.0


@dataclass(frozen=True)
class Outcome:
    """How a task ended.

    Args:
        state: "DONE", "STOPPED" where the process was asked to stop and saved first, or one of the faults of `study.STATES`.
        value: What the task returned.
        reason: What went wrong.
    """

    state: str
    value: Any = None
    reason: str = ""


class Worker:
    """Trains one trial at a time in a process of its own, which a trial can take down and nothing else with it.

    The process is kept for the next trial, with what it has compiled, and replaced when it died or had to be killed.

    Args:
        parcel: The folder that `shipping.pack` filled.
        log: Where the process's own output goes.
        limits: What one trial may take.
    """

    def __init__(self, parcel: Path, log: Path, *, limits: TrialLimits) -> None:
        self.parcel = parcel
        self.log = log
        self.limits = limits
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._buffer = b""

    @property
    def pid(self) -> int:
        """The number of the process, 0 where there is none."""
        return self._process.pid if self._process is not None else 0

    def train(self, values: Mapping[str, Any], *, epochs: int, folder: Path, on_epoch: OnEpoch) -> Outcome:
        """Trains a trial to the end of an epoch; the value says whether it reached the full horizon.

        Args:
            values: Of the trial.
            epochs: How far.
            folder: What is the trial's.
            on_epoch: Told the epochs done, the metrics and the seconds of the last one; says whether to go on.
        """
        return self._carry_out(
            {"do": "train", "values": dict(values), "epochs": epochs, "folder": str(folder)}, on_epoch
        )

    def logged(self, values: Mapping[str, Any]) -> Outcome:
        """Finds the names of the metrics that training logs.

        Args:
            values: Of any trial.
        """
        return self._carry_out({"do": "logged", "values": dict(values)}, lambda *_: True)

    def interrupt(self) -> None:
        """Asks the process to finish its step, save and stop."""
        if self._process is not None:
            self._process.terminate()

    def close(self) -> None:
        """Ends the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        if self._socket is not None:
            self._socket.close()
        self._process = self._socket = None

    def _carry_out(self, task: dict[str, Any], on_epoch: OnEpoch) -> Outcome:
        if self._process is None or self._process.poll() is not None:
            started = self._start()
            if started is not None:
                return started
        began = time.monotonic()
        try:
            self._say(task)
            while True:
                message, fault = self._next(began)
                if fault is not None:
                    return fault
                if "epoch" in message:
                    go_on = on_epoch(message["epoch"], message["metrics"], message["seconds"])
                    self._say({"go_on": go_on})
                elif "done" in message:
                    return Outcome("DONE", message["done"])
                elif "stopped" in message:
                    return Outcome("STOPPED")
                elif "failed" in message:
                    if message["failed"] == "OOM":
                        self.close()  # what a backend holds after that is anybody's guess
                    return Outcome(message["failed"], reason=message["message"])
        except OSError:  # it died while it was spoken to
            return self._died()

    def _start(self) -> Outcome | None:
        """Starts a process, and returns a fault where it does not come up."""
        self.close()
        ours, theirs = socket.socketpair()
        command = [
            sys.executable,
            "-m",
            "vit_keras.tuning.workers.runner",
            str(theirs.fileno()),
            str(self.parcel),
            str(self.log),
        ]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        with theirs:
            self._process = subprocess.Popen(
                command,
                pass_fds=[theirs.fileno()],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        self._socket, self._buffer = ours, b""
        message, fault = self._next(time.monotonic(), silence=_START_SECONDS)
        return (
            fault
            if fault is not None or "ready" in message
            else Outcome("FAILED", reason="The process that trains did not start.")
        )

    def _say(self, message: Mapping[str, Any]) -> None:
        if self._socket is not None:
            self._socket.sendall((json.dumps(message) + "\n").encode())

    def _next(self, began: float, *, silence: float | None = None) -> tuple[dict[str, Any], Outcome | None]:
        """Returns the next message, or the fault that ended the process."""
        heard = time.monotonic()
        if self._socket is None or self._process is None:
            return {}, Outcome("FAILED", reason="There is no process that trains.")
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([self._socket], [], [], _POLL_SECONDS)
            if ready:
                received = self._socket.recv(1 << 16)
                if not received:
                    return {}, self._died()
                self._buffer += received
                heard = time.monotonic()
            fault = self._over(began, heard, self.limits.silence if silence is None else silence)
            if fault is not None:
                self.close()
                return {}, fault
        line, _, self._buffer = self._buffer.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        return message, None

    def _over(self, began: float, heard: float, silence: float) -> Outcome | None:
        """Returns which limit is passed, if one is."""
        limits, now = self.limits, time.monotonic()
        if limits.seconds is not None and now - began > limits.seconds:
            return Outcome("TIMEOUT", reason=f"It took over {limits.seconds:g} s.")
        if now - heard > silence:
            return Outcome("TIMEOUT", reason=f"It hung: no step for {silence:g} s.")
        if limits.memory is not None:
            try:
                used = psutil.Process(self.pid).memory_info().rss
            except psutil.Error:
                return None  # it just died, which the socket will say
            if used > limits.memory:
                return Outcome(
                    "OOM", reason=f"It took {used / 2**30:.1f} GiB, over its limit of {limits.memory / 2**30:.1f} GiB."
                )
        return None

    def _died(self) -> Outcome:
        """Returns how the process ended."""
        code = self._process.wait() if self._process is not None else 0
        self.close()
        if code >= 0:
            return Outcome("KILLED", reason=f"Its process ended with exit code {code}; {self.log} has its last words.")
        name = signal.Signals(-code).name
        if name == "SIGKILL":
            name += ", as the system does where memory ends"
        return Outcome("KILLED", reason=f"Its process was ended by {name}.")
