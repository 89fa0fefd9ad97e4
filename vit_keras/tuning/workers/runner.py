"""The process in which trials are trained: `python -m vit_keras.tuning.workers.runner PAYLOAD LOG`, started by `Worker`."""

import os
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from vit_keras.errors import TrainingDivergedError, VitKerasError
from vit_keras.runtime.worker_process import ParentConnection
from vit_keras.tuning.study.heartbeat import LEASE_SECONDS, Lease

_ALIVE_SECONDS = 0.5  # between two messages that the trial is still training


def main() -> None:
    """Trains what it is asked to until the parent ends."""
    folder, log = Path(sys.argv[1]), Path(sys.argv[2])
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # `fit` handles them while it trains
    parent = ParentConnection(log)

    from vit_keras.runtime.tensorflow_threads import prefer_parallel_operations

    prefer_parallel_operations()
    from vit_keras.training.checkpoints.callback import Stopped
    from vit_keras.tuning.workers.payload import unpack
    from vit_keras.tuning.workers.trial_training import TrialTrainer

    trainer = TrialTrainer(**unpack(folder))
    parent.send({"ready": True})
    while True:
        task = parent.receive()
        try:
            parent.send({"done": _run(task, trainer, parent)})
        except Stopped:
            parent.send({"stopped": True})
        except Exception as error:
            traceback.print_exc()
            parent.send({"failed": _fault(error), "message": f"{type(error).__name__}: {error}"})
        sys.stdout.flush()
        sys.stderr.flush()


def _run(task: dict[str, Any], trainer: Any, parent: ParentConnection) -> Any:
    if task["do"] == "logged_metrics":
        names = trainer.logged_metrics(task["values"])
        return None if names is None else sorted(names)
    said_alive, lease, is_stopping = time.monotonic(), Lease(Path(task["heartbeat"])), False

    def on_step() -> None:
        nonlocal said_alive, is_stopping
        silence = lease.silence()
        if silence > LEASE_SECONDS:  # another process may have taken the trial: nothing of it may be written here
            os._exit(1)
        if silence > LEASE_SECONDS / 2 and not is_stopping:
            is_stopping = True
            signal.raise_signal(signal.SIGTERM)  # saves the trial, and ends it
        if time.monotonic() - said_alive >= _ALIVE_SECONDS:
            said_alive = time.monotonic()
            parent.send({"alive": True})

    def on_epoch(epochs: int, metrics: dict[str, float], seconds: float) -> bool:
        parent.send({"epoch": epochs, "metrics": metrics, "seconds": seconds})
        return bool(parent.receive()["continue"])

    values, until, folder = task["values"], task["epochs"], Path(task["folder"])
    return trainer.train(values, until=until, folder=folder, on_epoch=on_epoch, on_step=on_step)


def _fault(error: Exception) -> str:
    from vit_keras.runtime.out_of_memory import is_out_of_memory

    if is_out_of_memory(error):
        return "OOM"
    return "INVALID" if isinstance(error, VitKerasError) and not isinstance(error, TrainingDivergedError) else "FAILED"


if __name__ == "__main__":
    main()
