"""What launchers say about the processes they start, read from the environment; imports no backend."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass

from vit_keras.errors import ClusterError

_SLURM = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID")
_OPEN_MPI = ("OMPI_MCA_orte_hnp_uri", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK")


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """The processes of one launch.

    Args:
        launcher: What described them, such as "torchrun".
        num_processes: How many there are.
        process_id: Which of them this one is, from 0.
        coordinator: `HOST:PORT` of process 0; None where JAX finds it by itself.
        local_id: Which of the processes of its machine this one is, where each takes one device; None where it takes all.
    """

    launcher: str
    num_processes: int
    process_id: int
    coordinator: str | None = None
    local_id: int | None = None

    def __post_init__(self) -> None:
        where = f"{self.launcher} says: process {self.process_id} of {self.num_processes}"
        if not 0 <= self.process_id < self.num_processes:
            raise ClusterError(f"{where}. Process ids count from 0 to {self.num_processes - 1}.")
        if self.coordinator is not None:
            host, colon, port = self.coordinator.rpartition(":")
            if not (host and colon and port.isdecimal() and 0 < int(port) < 65536):
                raise ClusterError(f"{where}, coordinator {self.coordinator!r}; expected HOST:PORT of process 0.")


def find_cluster(
    environment: Mapping[str, str] | None = None,
    *,
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
) -> Cluster | None:
    """Returns the launch that this process belongs to, or None for a process of its own.

    The arguments win; then the variables of Keras, torchrun, Slurm, Open MPI and an indexed Kubernetes job are looked at.

    Args:
        environment: Environment variables; by default those of this process.
        coordinator: `HOST:PORT` of process 0.
        num_processes: Number of processes.
        process_id: Which of them this one is, from 0.

    Raises:
        ClusterError: The description is incomplete or contradicts itself.

    Example:
        >>> find_cluster({"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500", "WORLD_SIZE": "2", "RANK": "1"}).coordinator
        '10.0.0.1:29500'
    """
    variables = os.environ if environment is None else environment
    given = {"--coordinator": coordinator, "--num-processes": num_processes, "--process-id": process_id}
    missing = [name for name, value in given.items() if value is None]
    if coordinator is not None and num_processes is not None and process_id is not None:
        return Cluster(
            launcher="the command line",
            coordinator=coordinator,
            num_processes=num_processes,
            process_id=process_id,
        )
    if len(missing) < len(given):
        raise ClusterError(f"{', '.join(missing)} missing: the three options describe a launch together.")
    found = _find_keras(variables) or _find_torchrun(variables) or _find_by_jax(variables)
    return found if found is not None and found.num_processes > 1 else None


def find_tensorflow_workers(environment: Mapping[str, str] | None = None) -> int:
    """Returns the number of workers that `TF_CONFIG` names; 0 without it."""
    text = (os.environ if environment is None else environment).get("TF_CONFIG")
    try:
        cluster = json.loads(text or "{}").get("cluster", {})
        return sum(len(cluster.get(role, ())) for role in ("chief", "worker"))
    except (ValueError, AttributeError, TypeError) as error:
        raise ClusterError(
            f"TF_CONFIG is not the JSON of a TensorFlow cluster ({error}): correct or unset it."
        ) from error


def _find_keras(variables: Mapping[str, str]) -> Cluster | None:
    names = ("KERAS_DISTRIBUTION_JOB_ADDRESSES", "KERAS_DISTRIBUTION_NUM_PROCESSES", "KERAS_DISTRIBUTION_PROCESS_ID")
    if not any(name in variables for name in names):
        return None
    addresses = variables.get(names[0], "").split(",")
    if len(addresses) > 1:
        variables = {names[1]: str(len(addresses)), **variables}
    values = _read(variables, names, launcher="Keras")
    return Cluster(
        launcher="KERAS_DISTRIBUTION_*",
        coordinator=addresses[0],
        num_processes=_count(values, names[1]),
        process_id=_count(values, names[2]),
        local_id=_count(variables, "VIT_KERAS_LOCAL_ID") if "VIT_KERAS_LOCAL_ID" in variables else None,
    )


def _find_torchrun(variables: Mapping[str, str]) -> Cluster | None:
    names = ("MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "RANK")
    if not {"WORLD_SIZE", "RANK"} <= variables.keys() or variables["WORLD_SIZE"] == "1":
        return None
    values = _read(variables, names, launcher="torchrun")
    port = _count(values, "MASTER_PORT")
    if variables.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        port += 1  # torchrun itself listens on the other
    return Cluster(
        launcher="torchrun",
        coordinator=f"{values['MASTER_ADDR']}:{port}",
        num_processes=_count(values, "WORLD_SIZE"),
        process_id=_count(values, "RANK"),
        local_id=_count(variables, "LOCAL_RANK") if "LOCAL_RANK" in variables else None,
    )


def _find_by_jax(variables: Mapping[str, str]) -> Cluster | None:
    """Finds the launchers whose coordinator JAX finds by itself."""
    if all(name in variables for name in _SLURM):
        return Cluster(
            launcher="Slurm",
            num_processes=_count(variables, "SLURM_NTASKS"),
            process_id=_count(variables, "SLURM_PROCID"),
        )
    if all(name in variables for name in _OPEN_MPI):
        return Cluster(
            launcher="Open MPI",
            num_processes=_count(variables, "OMPI_COMM_WORLD_SIZE"),
            process_id=_count(variables, "OMPI_COMM_WORLD_RANK"),
        )
    return None


def _read(variables: Mapping[str, str], names: tuple[str, ...], *, launcher: str) -> dict[str, str]:
    missing = [name for name in names if not variables.get(name)]
    if missing:
        raise ClusterError(
            f"The variables of {launcher} are incomplete: {', '.join(missing)} missing. Set them, or unset "
            f"{', '.join(name for name in names if name in variables)}."
        )
    return {name: variables[name] for name in names}


def _count(variables: Mapping[str, str], name: str) -> int:
    if not variables[name].isdecimal():
        raise ClusterError(f"{name}={variables[name]!r} is not a number.")
    return int(variables[name])
