"""A search on several machines: keras-tuner's chief and workers, with an end to waiting on both sides.

As in keras-tuner, who connects is not asked who it is: run it where others can't reach it. The run directory is one that all can write.
keras-tuner's own chief waits for ever for a worker that was killed, and its workers an hour for a chief that is gone.
"""

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from vit_keras.errors import InvalidArgumentError, RunLockedError, StorageError

LEASE_SECONDS = 60.0  # without a word from a worker, after which its trial is another's
_HEARTBEAT_SECONDS = 10.0
_WAIT_SECONDS = 120.0  # for a chief that starts later than its workers
_POLL_SECONDS = 0.5
_GRACE_SECONDS = 5.0  # in which idle workers hear that it is over
CHIEF = "chief"


def set_role(role: str, address: str, *, worker: str = "") -> None:
    """Tells keras-tuner, in this process, who it is.

    Args:
        role: "chief" or "worker".
        address: "HOST:PORT" of the chief.
        worker: The worker's name; by default one of machine and process.

    Raises:
        InvalidArgumentError: There is no such role, or this is no address.
    """
    host, _, port = address.rpartition(":")
    if role not in (CHIEF, "worker") or not host or not port.isdecimal():
        raise InvalidArgumentError(
            f"role={role!r}, address={address!r}: expected the role chief or worker and the chief's address as HOST:PORT."
        )
    os.environ["KERASTUNER_ORACLE_IP"], os.environ["KERASTUNER_ORACLE_PORT"] = host, port
    name = worker or f"worker-{os.uname().nodename.replace(CHIEF, 'c')}-{os.getpid()}"
    os.environ["KERASTUNER_TUNER_ID"] = CHIEF if role == CHIEF else name


def serve(oracle: Any, *, lease: float) -> None:
    """Answers workers until the search is over and none of them trains; what a lost worker trained is given to another.

    Args:
        oracle: A `ViTOracle`.
        lease: Seconds without a word from a worker after which it is lost.

    Raises:
        RunLockedError: The address is taken.
    """
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
            f"{address} can't be listened at: another process has it, or the machine has no such address."
        )
    server.start()
    wait = threading.Event().wait
    try:
        while not ((servicer.stop_triggered or oracle.closing) and not oracle.ongoing_trials):
            oracle.expire(lease)
            wait(_POLL_SECONDS)
        wait(_GRACE_SECONDS)
    finally:
        server.stop(grace=1.0).wait()


def client_of(oracle: Any) -> Any:
    """Returns a stand-in for the chief's oracle that says so when there is no chief any more.

    Args:
        oracle: This process's own, which decides nothing.
    """
    import grpc
    from keras_tuner.src import protos
    from keras_tuner.src.distribute import oracle_client

    class Client(oracle_client.OracleClient):
        """keras-tuner's client, whose calls end."""

        def __init__(self) -> None:
            super().__init__(oracle)
            self._address = f"{os.environ['KERASTUNER_ORACLE_IP']}:{os.environ['KERASTUNER_ORACLE_PORT']}"
            self._channel = grpc.insecure_channel(self._address)
            self.stub: Any = protos.get_service_grpc().OracleStub(self._channel)
            self._wait = _WAIT_SECONDS

        def _reached(self) -> None:
            try:
                grpc.channel_ready_future(self._channel).result(timeout=self._wait)
            except grpc.FutureTimeoutError:
                raise StorageError(
                    f"No chief answered at {self._address} for {self._wait:g} s: it ended, or the address is another. Its journal has what "
                    "was reported; start the chief again, then the workers."
                ) from None

        def create_trial(self, tuner_id: str) -> Any:
            self._reached()
            return super().create_trial(tuner_id)

        def update_trial(self, trial_id: str, metrics: dict[str, float], step: int = 0) -> Any:
            self._reached()
            return super().update_trial(trial_id, metrics, step)

        def end_trial(self, trial: Any) -> None:
            self._reached()
            super().end_trial(trial)

    return Client()


@contextmanager
def heartbeat(client: Any, trial_id: str) -> Iterator[None]:
    """Shows the chief, inside its block, that this worker lives, however long an epoch takes.

    Args:
        client: What `client_of` returned.
        trial_id: What is trained.
    """
    import grpc

    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(_HEARTBEAT_SECONDS):
            try:
                client.get_trial(trial_id)
            except grpc.RpcError:  # the next report says it
                return

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
