"""Joining processes, and what they tell each other; several processes run in `test_training.py`."""

import re
import socket

import pytest

from vit_keras.distributed import cluster
from vit_keras.distributed.launchers import Cluster
from vit_keras.errors import ClusterError

pytestmark = pytest.mark.any_backend


@pytest.fixture
def port():
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_process_of_its_own_is_the_chief_and_talks_to_itself():
    assert not cluster.is_joined()
    assert (cluster.process_id(), cluster.process_count(), cluster.is_chief()) == (0, 1, True)
    assert cluster.gather({"a": 1}) == [{"a": 1}]
    assert cluster.broadcast("x") == "x"
    assert not cluster.is_lost(ValueError("Gloo AllGather failed"))


def test_a_coordinator_that_nobody_answers(port):
    missing = Cluster(launcher="torchrun", coordinator=f"127.0.0.1:{port}", num_processes=2, process_id=1)
    with pytest.raises(ClusterError, match=rf"Nobody answers at the coordinator 127.0.0.1:{port}.*process 0.*firewall"):
        cluster._wait_for_coordinator(missing, 0.3)


def test_a_port_that_is_taken():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(ClusterError, match=re.escape(f"{address}: process 0 can't listen on this port")):
            cluster._check_port_is_free(address)


def test_on_loopback_the_coordinator_listens_to_this_machine_alone():
    assert cluster._find_bind_address("localhost:1234") == "127.0.0.1:1234"
    assert cluster._find_bind_address("10.0.0.1:1234") is None  # JAX's default
