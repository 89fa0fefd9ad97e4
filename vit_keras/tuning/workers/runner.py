"""The process in which trials are trained; `python -m vit_keras.tuning.workers.runner`, as `worker.Worker` starts it.

It is told what to do and says how it goes in lines of JSON over an inherited socket. It ends with the process that started it.
"""

import json
import os
import signal
import socket
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from vit_keras.errors import TrainingDivergedError, VitKerasError

_ALIVE_SECONDS = 0.5  # between two signs of life


class _Line:
    """The connection to the search."""

    def __init__(self, number: int) -> None:
        self._socket = socket.socket(fileno=number)
        self._reader = self._socket.makefile("r")
        self._said = 0.0

    def say(self, **message: Any) -> None:
        self._socket.sendall((json.dumps(message) + "\n").encode())
        self._said = time.monotonic()

    def hear(self) -> dict[str, Any]:
        """Returns what the search says; where the search has ended, so does this process."""
        line = self._reader.readline()
        if not line:
            os._exit(0)
        message: dict[str, Any] = json.loads(line)
        return message

    def step(self) -> None:
        if time.monotonic() - self._said >= _ALIVE_SECONDS:
            self.say(alive=True)


def _watch(parent: int) -> None:
    """Ends this process when the one that started it is gone, even in the middle of a step."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(0)


def main() -> None:
    """Trains what it is told to until nobody is there any more."""
    connection, folder, log = int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
    written = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(written, stream.fileno())
    for number in (
        signal.SIGINT,
        signal.SIGTERM,
    ):  # Ctrl-C reaches the whole group; the search decides, and `fit` listens
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_watch, args=(os.getppid(),), daemon=True).start()
    line = _Line(connection)

    from vit_keras.training.checkpoints.callback import Stopped
    from vit_keras.tuning.workers.shipping import unpack
    from vit_keras.tuning.workers.trial_training import TrialTrainer

    parcel = unpack(folder)
    trainer = TrialTrainer(parcel.hypermodel, parcel.data, epochs=parcel.epochs, seed=parcel.seed)
    line.say(ready=True)
    while True:
        task = line.hear()
        try:
            line.say(done=_carried_out(task, trainer, line))
        except Stopped:
            line.say(stopped=True)
        except Exception as error:
            traceback.print_exc()
            line.say(failed=_kind(error), message=f"{type(error).__name__}: {error}")
        sys.stdout.flush()
        sys.stderr.flush()


def _carried_out(task: dict[str, Any], trainer: Any, line: _Line) -> Any:
    if task["do"] == "logged":
        names = trainer.logged(task["values"])
        return None if names is None else sorted(names)

    def on_epoch(epochs: int, metrics: dict[str, float], seconds: float) -> bool:
        line.say(epoch=epochs, metrics=metrics, seconds=seconds)
        return bool(line.hear()["go_on"])

    return trainer.train(
        task["values"], until=task["epochs"], folder=Path(task["folder"]), on_epoch=on_epoch, on_step=line.step
    )


def _kind(error: Exception) -> str:
    """Returns the state that an error ends a trial in."""
    from vit_keras.runtime.out_of_memory import is_out_of_memory

    if is_out_of_memory(error):
        return "OOM"
    return "INVALID" if isinstance(error, VitKerasError) and not isinstance(error, TrainingDivergedError) else "FAILED"


if __name__ == "__main__":
    main()
