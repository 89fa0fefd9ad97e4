"""The processes of one launch: which launcher started them, how they find each other, and what they tell each other."""

import json
import os
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vit_keras.errors import ClusterError

CONNECT_SECONDS = 300
"""How long a process waits for the others at the start."""
HEARTBEAT_SECONDS = 30
"""After how long without a sign of life a process counts as dead."""


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """The processes of one launch, as a launcher or the user describes them.

    Args:
        launcher: What described them, such as "torchrun".
        coordinator: `HOST:PORT` of process 0; None where JAX finds it.
        num_processes: How many there are; None where JAX finds it.
        process_id: Which of them this one is, from 0; None where JAX finds it.
    """

    launcher: str
    coordinator: str | None = None
    num_processes: int | None = None
    process_id: int | None = None


def process_count() -> int:
    """Returns the number of processes that train together; 1 without a cluster."""
    return int(_distributed().num_processes) if is_joined() else 1


def process_id() -> int:
    """Returns which of the processes this one is, from 0."""
    return int(_distributed().process_id) if is_joined() else 0


def is_chief() -> bool:
    """Returns whether this process prints and writes for all: process 0, or the only one."""
    return process_id() == 0


def is_joined() -> bool:
    """Returns whether this process belongs to a cluster; starts no backend."""
    import sys

    return "jax" in sys.modules and _distributed().client is not None


def barrier(name: str) -> None:
    """Waits until every process has come to the barrier of this name."""
    if process_count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(name)


def broadcast(value: Any) -> Any:
    """Returns the chief's value on every process; it must be what JSON holds."""
    return gather(value)[0]


def gather(value: Any) -> list[Any]:
    """Returns the values of all processes, in their order; each must be what JSON holds."""
    if process_count() == 1:
        return [json.loads(json.dumps(value))]
    from jax.experimental import multihost_utils

    content = np.frombuffer(json.dumps(value).encode(), "uint8")
    lengths = np.asarray(multihost_utils.process_allgather(np.array([len(content)]))).ravel()
    padded = np.zeros(int(lengths.max()), "uint8")
    padded[: len(content)] = content
    rows = np.asarray(multihost_utils.process_allgather(padded))
    return [json.loads(bytes(row[:length])) for row, length in zip(rows, lengths.tolist(), strict=True)]


def _distributed() -> Any:
    from jax._src.distributed import global_state

    return global_state
