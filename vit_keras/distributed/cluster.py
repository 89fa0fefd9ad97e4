"""The processes that train together: joining them, what they tell each other, and how they end when one of them is lost."""

import ctypes
import itertools
import json
import os
import signal
import socket
import sys
import time
from importlib import import_module
from typing import Any

from vit_keras.distributed.launchers import Cluster
from vit_keras.errors import ClusterError
from vit_keras.runtime.signals import RESUMABLE

CONNECT_SECONDS = 300
"""How long a process waits for the others at the start."""
HEARTBEAT_SECONDS = 30
"""After how long without a sign of life a process counts as lost."""

_WAIT_MS = 24 * 3600 * 1000  # for the others, who may read much data; a process that is lost ends all others before
_LOST = ("gloo", "nccl", "connection reset", "connection closed", "coordination", "another task died", "socket closed", "broken pipe")  # fmt: skip
_numbers = itertools.count()
_waits: list[float] = []  # seconds, of each time that this process met the others


def is_joined() -> bool:
    """Returns whether this process has joined others; starts no backend."""
    return "jax" in sys.modules and _state().client is not None


def process_count() -> int:
    """Returns the number of processes that train together; 1 for a process of its own."""
    return int(_state().num_processes) if is_joined() else 1


def process_id() -> int:
    """Returns which of the processes this one is, from 0."""
    return int(_state().process_id) if is_joined() else 0


def is_chief() -> bool:
    """Returns whether this process prints and writes for all: process 0, or the only one."""
    return process_id() == 0


def join(cluster: Cluster, *, seconds: float = CONNECT_SECONDS) -> None:
    """Joins the processes of a launch; must run before JAX is used. Does nothing where that was done.

    SIGTERM stays with Python, where JAX would take it for its own service.

    Args:
        cluster: The launch.
        seconds: How long to wait for the others.

    Raises:
        ClusterError: JAX was used before, the coordinator does not answer, or a process is missing.
    """
    if is_joined():
        return
    from jax._src import xla_bridge

    jax: Any = import_module("jax")

    if xla_bridge.backends_are_initialized():
        raise ClusterError(
            f"{cluster.launcher} started {cluster.num_processes} processes, and JAX was used before they joined: build or load the model "
            "inside vk.train or vk.finetune by naming it, or call vk.join_launch() first of all."
        )
    if cluster.coordinator is not None:
        if cluster.process_id == 0:
            _check_port_is_free(cluster.coordinator)
        else:
            _wait_for_coordinator(cluster, seconds)
    jax.config.update("jax_enable_preemption_service", False)
    _end_resumably_on_abort()
    try:
        jax.distributed.initialize(
            coordinator_address=cluster.coordinator,
            coordinator_bind_address=_find_bind_address(cluster.coordinator),
            num_processes=cluster.num_processes,
            process_id=cluster.process_id,
            local_device_ids=cluster.local_id,
            cluster_detection_method="deactivate" if cluster.coordinator is not None else None,
            initialization_timeout=max(1, round(seconds)),
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
            shutdown_timeout_seconds=HEARTBEAT_SECONDS,
        )
    except Exception as error:
        raise ClusterError(
            f"Process {cluster.process_id} of {cluster.num_processes} ({cluster.launcher}) could not join the others within {seconds:.0f} s "
            f"({_first_line(error)}): look whether all {cluster.num_processes} processes were started, each with its own process id, and "
            "whether they reach the coordinator's port."
        ) from error


def gather(value: Any) -> list[Any]:
    """Returns the values of all processes, in their order; every process calls it, with a value that JSON holds."""
    if process_count() == 1:
        return [value]
    client, key = _state().client, f"vit_keras/{next(_numbers)}"
    client.key_value_set(f"{key}/{process_id()}", json.dumps(value))
    if is_chief():
        values = [_get(f"{key}/{process}") for process in range(process_count())]
        client.key_value_set(f"{key}/all", json.dumps(values))
    found: list[Any] = _get(f"{key}/all")
    return found


def gather_bytes(content: bytes) -> list[bytes]:
    """Returns the bytes of all processes, in their order; every process calls it. Unlike `gather` it is made for millions of them."""
    sizes = gather(len(content))
    if not any(sizes) or len(sizes) == 1:
        return [content] * len(sizes)
    import numpy as np
    from jax.experimental import multihost_utils

    padded = np.zeros(max(sizes), "uint8")
    padded[: len(content)] = np.frombuffer(content, "uint8")
    rows = np.asarray(multihost_utils.process_allgather(padded))
    return [row[:size].tobytes() for row, size in zip(rows, sizes, strict=True)]


def broadcast(value: Any) -> Any:
    """Returns the chief's value on every process; every process calls it, with a value that JSON holds."""
    if process_count() == 1:
        return value
    key = f"vit_keras/{next(_numbers)}"
    if is_chief():
        _state().client.key_value_set(key, json.dumps(value))
    return _get(key)


def seconds_waited() -> float:
    """Returns how long this process has waited for others since it joined them, in `gather` and `broadcast`."""
    return sum(_waits)


def post(name: str, value: Any) -> None:
    """Puts a value under a name, for `look` of any process."""
    _state().client.key_value_set(f"vit_keras/{name}", json.dumps(value), allow_overwrite=True)


def look(name: str) -> Any:
    """Returns the value that a process has put under a name; None if there is none."""
    try:
        return json.loads(_state().client.key_value_try_get(f"vit_keras/{name}"))
    except Exception as error:
        if "NOT_FOUND" in str(error):
            return None
        raise


def is_lost(error: BaseException) -> bool:
    """Returns whether an error means that another process of the launch has ended or can't be reached."""
    if process_count() == 1:
        return False
    texts = [f"{type(each).__name__}: {each}".lower() for each in (error, error.__cause__, error.__context__) if each]
    return any(word in text for word in _LOST for text in texts)


def leave(code: int) -> None:
    """Ends this process at once: JAX would wait for the others, or end it with an error of its own."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _on_abort(number: int) -> None:
    os.write(
        2,
        b"JAX ended this process, most likely because another process of the launch was lost. Resume all with --resume.\n",
    )
    os._exit(RESUMABLE)


_ABORT_HANDLER = ctypes.CFUNCTYPE(None, ctypes.c_int)(_on_abort)  # kept: C calls it after this module has run


def _end_resumably_on_abort() -> None:
    """Replaces the exit code of an abort: JAX aborts a process whose coordinator is gone, from a thread that Python does not see."""
    if sys.platform != "win32":
        libc = ctypes.CDLL(None)
        libc.signal.restype = ctypes.c_void_p
        libc.signal(signal.SIGABRT, _ABORT_HANDLER)


def _get(key: str) -> Any:
    start = time.monotonic()
    text = _state().client.blocking_key_value_get(key, _WAIT_MS)
    _waits.append(time.monotonic() - start)
    return json.loads(text)


def _check_port_is_free(coordinator: str) -> None:
    host, _, port = coordinator.rpartition(":")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1" if _is_loopback(host) else "", int(port)))
        except OSError as error:
            raise ClusterError(
                f"{coordinator}: process 0 can't listen on this port ({error}): choose a free one for all processes."
            ) from error


def _wait_for_coordinator(cluster: Cluster, seconds: float) -> None:
    """Raises `ClusterError` where nobody listens at the coordinator's address in time."""
    host, _, port = str(cluster.coordinator).rpartition(":")
    reason, end = "no answer", time.monotonic() + seconds
    while True:
        try:
            with socket.create_connection((host.strip("[]"), int(port)), timeout=min(5.0, seconds)):
                return
        except OSError as error:
            reason = str(error)
        if time.monotonic() >= end:
            raise ClusterError(
                f"Nobody answers at the coordinator {cluster.coordinator} within {seconds:.0f} s ({reason}): look whether process 0 of "
                f"{cluster.num_processes} runs there, whether its host name resolves on {socket.gethostname()}, and whether a firewall "
                f"closes port {port}."
            )
        time.sleep(0.2)


def _find_bind_address(coordinator: str | None) -> str | None:
    """Returns where the coordinator listens: on a loopback address only there, since the port has no authentication."""
    host, _, port = (coordinator or "").rpartition(":")
    return f"127.0.0.1:{port}" if _is_loopback(host) else None


def _is_loopback(host: str) -> bool:
    return host in ("localhost", "127.0.0.1")


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _state() -> Any:
    from jax._src.distributed import global_state

    return global_state
