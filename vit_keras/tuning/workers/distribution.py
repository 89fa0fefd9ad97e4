"""A search on several machines: keras-tuner's chief and workers, with timeouts on both sides.

As in keras-tuner there is no authentication: use it in a trusted network only. Every machine must be able to write to the run
directory. keras-tuner's own chief waits forever for a killed worker, and its workers wait an hour for a chief that has ended.
"""

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from vit_keras.errors import InvalidArgumentError, RunLockedError, StorageError

LEASE_SECONDS = 60.0  # of silence, after which a worker's trial is given to another
_HEARTBEAT_SECONDS = 10.0
_WAIT_SECONDS = 120.0  # for a chief that starts later than its workers
_POLL_SECONDS = 0.5
_GRACE_SECONDS = 5.0  # in which idle workers learn that the search is over
CHIEF = "chief"


def set_role(role: str, address: str, *, worker: str = "") -> None:
    """Sets this process's role for keras-tuner, "chief" or "worker", through its environment variables; `address` is "HOST:PORT"."""
    host, _, port = address.rpartition(":")
    if role not in (CHIEF, "worker") or not host or not port.isdecimal():
        raise InvalidArgumentError(
            f"role={role!r}, address={address!r}: expected the role chief or worker, and the chief's address as HOST:PORT."
        )
    os.environ["KERASTUNER_ORACLE_IP"], os.environ["KERASTUNER_ORACLE_PORT"] = host, port
    name = worker or f"worker-{os.uname().nodename.replace(CHIEF, 'c')}-{os.getpid()}"
    os.environ["KERASTUNER_TUNER_ID"] = CHIEF if role == CHIEF else name


def serve(oracle: Any, *, lease: float) -> None:
    """Serves workers until the search is over and no trial runs; a lost worker's trial is given to another."""
    import grpc
    from keras_tuner.src import protos
    from keras_tuner.src.distribute.oracle_chief import OracleServicer

    address = f"{os.environ['KERASTUNER_ORACLE_IP']}:{os.environ['KERASTUNER_ORACLE_PORT']}"
    server = grpc.server(ThreadPoolExecutor(max_workers=8), options=[("grpc.so_reuseport", 0)])
    servicer = OracleServicer(oracle)
    protos.get_service_grpc().add_OracleServicer_to_server(servicer, server)
    try:
        bound = server.add_insecure_port(address)
    except RuntimeError:
        bound = 0
    if not bound:
        raise RunLockedError(
            f"--address {address} is not available: another process uses it, or this machine has no such address."
        )
    server.start()
    wait = threading.Event().wait
    try:
        while not ((servicer.stop_triggered or oracle.closing) and not oracle.ongoing_trials):
            oracle.take_back_lost(lease)
            wait(_POLL_SECONDS)
        wait(_GRACE_SECONDS)
    finally:
        server.stop(grace=1.0).wait()


def connect(oracle: Any) -> Any:
    """Returns a client of the chief's oracle whose calls raise `StorageError` once the chief has ended."""
    import grpc
    from keras_tuner.src import protos
    from keras_tuner.src.distribute import oracle_client

    class Client(oracle_client.OracleClient):
        """keras-tuner's client with a timeout per call."""

        def __init__(self) -> None:
            super().__init__(oracle)
            self._address = f"{os.environ['KERASTUNER_ORACLE_IP']}:{os.environ['KERASTUNER_ORACLE_PORT']}"
            self._channel = grpc.insecure_channel(self._address)
            self.stub: Any = protos.get_service_grpc().OracleStub(self._channel)
            self._wait = _WAIT_SECONDS

        def _wait_for_chief(self) -> None:
            try:
                grpc.channel_ready_future(self._channel).result(timeout=self._wait)
            except grpc.FutureTimeoutError:
                raise StorageError(
                    f"No chief answered at {self._address} for {self._wait:g} s: it has ended, or the address is wrong. Its journal has every "
                    "reported epoch; start the chief again, then the workers."
                ) from None

        def create_trial(self, tuner_id: str) -> Any:
            self._wait_for_chief()
            return super().create_trial(tuner_id)

        def update_trial(self, trial_id: str, metrics: dict[str, float], step: int = 0) -> Any:
            self._wait_for_chief()
            return super().update_trial(trial_id, metrics, step)

        def end_trial(self, trial: Any) -> None:
            self._wait_for_chief()
            super().end_trial(trial)

    return Client()


@contextmanager
def heartbeat(client: Any, trial_id: str) -> Iterator[None]:
    """Tells the chief regularly, inside its block, that this worker is alive, however long an epoch takes."""
    import grpc

    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(_HEARTBEAT_SECONDS):
            try:
                client.get_trial(trial_id)
            except grpc.RpcError:  # the next report raises it
                return

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
