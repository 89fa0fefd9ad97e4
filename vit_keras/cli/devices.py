"""The options about devices and processes, as arguments of `vk.train` and its like."""

import os
from typing import Any

from vit_keras.cli.backend import Process
from vit_keras.distributed.arguments import DISTRIBUTIONS
from vit_keras.distributed.launchers import find_cluster
from vit_keras.errors import InvalidArgumentError
from vit_keras.validation import list_words


def find_devices(
    devices: str | None,
    distribution: str | None,
    *,
    coordinator: str | None,
    num_processes: int | None,
    process_id: int | None,
) -> dict[str, Any]:
    """Returns the arguments `devices` and `distribution`, after noting a launch that was typed where Keras looks for one."""
    if devices not in (None, "auto") and not (str(devices).isdecimal() and int(str(devices))):
        raise InvalidArgumentError(f"--devices {devices}: expected a number of at least 1, or auto for all.")
    if distribution not in (None, *DISTRIBUTIONS):
        raise InvalidArgumentError(f"--distribution {distribution}: expected one of {list_words(DISTRIBUTIONS)}.")
    cluster = None
    if distribution != "none" or coordinator is not None:
        cluster = find_cluster(coordinator=coordinator, num_processes=num_processes, process_id=process_id)
    if cluster is not None and coordinator is not None:
        os.environ["KERAS_DISTRIBUTION_JOB_ADDRESSES"] = coordinator
        os.environ["KERAS_DISTRIBUTION_NUM_PROCESSES"] = str(cluster.num_processes)
        os.environ["KERAS_DISTRIBUTION_PROCESS_ID"] = str(cluster.process_id)
    if cluster is not None:
        Process.announces = Process.announces and cluster.process_id == 0
        os.environ.setdefault("KERAS_BACKEND", "jax")  # the only one that trains in several processes
    return {
        "devices": "auto" if devices in (None, "auto") else int(str(devices)),
        "distribution": distribution or "data",
    }
