"""Finding a launch in the environment: each launcher's variables as its documentation has them."""

import json

import pytest

from vit_keras.distributed.launchers import Cluster, find_cluster, find_tensorflow_workers
from vit_keras.errors import ClusterError

pytestmark = pytest.mark.any_backend

TORCHRUN = {"MASTER_ADDR": "node-a", "MASTER_PORT": "29500", "WORLD_SIZE": "8", "RANK": "5", "LOCAL_RANK": "1"}
SLURM = {
    "SLURM_JOB_ID": "77", "SLURM_STEP_NODELIST": "node[1-4]", "SLURM_NTASKS": "4", "SLURM_PROCID": "3", "SLURM_LOCALID": "0",
}  # fmt: skip
OPEN_MPI = {
    "OMPI_MCA_orte_hnp_uri": "1314521088.0;tcp://10.96.0.1:34911", "OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1",
}  # fmt: skip
KERAS = {"KERAS_DISTRIBUTION_JOB_ADDRESSES": "10.0.0.1:1234,10.0.0.2:2345", "KERAS_DISTRIBUTION_PROCESS_ID": "1"}


@pytest.mark.parametrize(
    ("variables", "launcher", "coordinator", "place"),
    [
        (TORCHRUN, "torchrun", "node-a:29500", (5, 8)),
        ({**TORCHRUN, "TORCHELASTIC_USE_AGENT_STORE": "True"}, "torchrun", "node-a:29501", (5, 8)),
        (SLURM, "Slurm", None, (3, 4)),
        (OPEN_MPI, "Open MPI", None, (1, 2)),
        (KERAS, "KERAS_DISTRIBUTION_*", "10.0.0.1:1234", (1, 2)),
        ({**TORCHRUN, **KERAS}, "KERAS_DISTRIBUTION_*", "10.0.0.1:1234", (1, 2)),
    ],
)
def test_each_launcher_is_found(variables, launcher, coordinator, place):
    found = find_cluster(variables)
    assert (found.launcher, found.coordinator, (found.process_id, found.num_processes)) == (
        launcher,
        coordinator,
        place,
    )


@pytest.mark.parametrize(
    "variables",
    [{}, {**TORCHRUN, "WORLD_SIZE": "1"}, {**SLURM, "SLURM_NTASKS": "1", "SLURM_PROCID": "0"}, {"SLURM_JOB_ID": "77", "SLURM_NTASKS": "4"}],
    ids=["nothing", "torchrun of one", "Slurm of one", "a Slurm job without srun"],
)  # fmt: skip
def test_a_process_of_its_own_is_no_cluster(variables):
    assert find_cluster(variables) is None


def test_the_command_line_wins():
    found = find_cluster(TORCHRUN, coordinator="localhost:1", num_processes=2, process_id=0)
    assert (found.coordinator, found.process_id) == ("localhost:1", 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"coordinator": "a:1"}, "--num-processes, --process-id missing"),
        ({"coordinator": "a:1", "num_processes": 2, "process_id": 2}, "count from 0 to 1"),
        ({"coordinator": "node-a", "num_processes": 2, "process_id": 0}, "expected HOST:PORT"),
        ({"environment": {**TORCHRUN, "MASTER_PORT": "x"}}, "MASTER_PORT='x' is not a number"),
        ({"environment": {"WORLD_SIZE": "2", "RANK": "0"}}, "MASTER_ADDR, MASTER_PORT missing. Set them, or unset"),
        ({"environment": {"KERAS_DISTRIBUTION_PROCESS_ID": "0"}}, "KERAS_DISTRIBUTION_JOB_ADDRESSES"),
    ],
)
def test_an_incomplete_description_is_an_error(arguments, message):
    with pytest.raises(ClusterError, match=message):
        find_cluster(**{"environment": {}, **arguments})


def test_workers_of_tf_config_are_counted():
    config = {"cluster": {"worker": ["a:1", "b:1"], "chief": ["c:1"]}, "task": {"type": "worker", "index": 0}}
    assert find_tensorflow_workers({"TF_CONFIG": json.dumps(config)}) == 3
    assert find_tensorflow_workers({}) == 0
    with pytest.raises(ClusterError, match="TF_CONFIG is not the JSON"):
        find_tensorflow_workers({"TF_CONFIG": "{"})


def test_a_cluster_names_its_launcher_in_errors():
    with pytest.raises(ClusterError, match="torchrun says: process 3 of 2"):
        Cluster(launcher="torchrun", num_processes=2, process_id=3)
