"""Choosing devices; training on several runs in `test_training.py`."""

import json

import keras
import pytest

import vit_keras as vk
from vit_keras.distributed.devices import Devices, choose_devices, devices_in_use, run_on
from vit_keras.errors import ClusterError, InvalidArgumentError

FOUR = Devices(names=("gpu:0", "gpu:1", "gpu:2", "gpu:3"), distribution="data")


@pytest.mark.any_backend
def test_a_batch_that_devices_cannot_share_names_those_they_can():
    FOUR.check_batch(64)
    with pytest.raises(InvalidArgumentError, match=r"batch_size=66 can't be shared equally by 4 devices.*64, 68"):
        FOUR.check_batch(66)
    with pytest.raises(InvalidArgumentError, match="the nearest that can: 4"):
        FOUR.check_batch(3)
    assert [FOUR.fit_batch(size) for size in (2, 7, 64)] == [4, 4, 64]


@pytest.mark.any_backend
def test_devices_are_described():
    assert FOUR.describe() == "4 x gpu, data parallel"
    two = Devices(names=("gpu:0", "gpu:8"), distribution="fsdp", process=(1, 2))
    assert two.describe() == "2 x gpu in 2 processes, fully sharded"


def test_one_device_is_not_distributed():
    with run_on() as devices:
        assert devices_in_use() is devices
        assert devices.distribution == "none"
        assert devices.count == 1
    assert devices_in_use().names == ()


@pytest.mark.parametrize(
    ("devices", "distribution", "message"),
    [
        (0, "data", "devices must be"),
        ("two", "data", "devices must be"),
        (True, "data", "devices must be"),
        (2, "zero", "distribution must be one of data, fsdp, none"),
    ],
)
@pytest.mark.any_backend
def test_values_that_are_never_legal(devices, distribution, message):
    with pytest.raises(InvalidArgumentError, match=message), run_on(devices, distribution):
        pass


def test_more_devices_than_there_are():
    with pytest.raises(InvalidArgumentError, match="devices=99, but there are only"):
        choose_devices(99)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="TensorFlow's variable")
def test_tf_config_is_refused_with_the_way_out(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": {"worker": ["a:1", "b:1"]}}))
    with pytest.raises(ClusterError, match=r"TF_CONFIG names 2 workers.*KERAS_BACKEND=jax"):
        vk.train(data="digits")


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="JAX would join")
def test_a_launch_on_another_backend_is_refused(monkeypatch):
    for name, value in {"MASTER_ADDR": "a", "MASTER_PORT": "1", "WORLD_SIZE": "2", "RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ClusterError, match=r'torchrun started 2 processes.*KERAS_BACKEND=jax.*distribution="none"'):
        vk.join_launch()
    with run_on(distribution="none"):
        pass


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="JAX is in use before")
def test_joining_after_jax_was_used_says_what_to_do(monkeypatch):
    keras.ops.zeros(1)
    for name, value in {"MASTER_ADDR": "a", "MASTER_PORT": "1", "WORLD_SIZE": "2", "RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ClusterError, match=r"JAX was used before they joined.*vk\.join_launch\(\)"):
        vk.join_launch()


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="torch's process group")
def test_a_torch_process_group_is_refused(tmp_path):
    import torch

    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", world_size=1, rank=0)
    try:
        with pytest.raises(ClusterError, match=r"another model in each process.*DistributedDataParallel"):
            choose_devices()
    finally:
        torch.distributed.destroy_process_group()
