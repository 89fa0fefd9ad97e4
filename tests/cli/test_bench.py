import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from vit_keras.config import ViTConfig
from vit_keras.errors import InvalidArgumentError
from vit_keras.training import memory, speed

CONFIG = ViTConfig(image_size=16, patch_size=8, hidden_dim=16, num_layers=2, num_heads=2, mlp_dim=32)


def test_a_preset_is_measured(run):
    code, out, _ = run("bench", "vit_nano_conv8_32", "--batch-size", 2, "--batch-size", 4, "--seconds", 0.01, "--json")
    assert code == 0
    found = json.loads(out)
    for kind in ("inference", "training"):
        assert [rate["batch_size"] for rate in found[kind]] == [2, 4]
        for rate in found[kind]:
            assert 0 < rate["low"] <= rate["images_per_second"] <= rate["high"]
            assert 0 < rate["share_of_matmul_rate"] < 1.5
    assert found["attention"] == "matrix products"
    assert found["largest_batch"] > 1000


@pytest.mark.slow
def test_what_is_not_to_be_relied_on_is_marked(run, monkeypatch):
    monkeypatch.setattr("os.getloadavg", lambda: (64.0, 0.0, 0.0))
    code, out, _ = run("bench", "vit_nano_conv8_32", "--batch-size", 2, "--seconds", 0.01)
    assert code == 0
    assert "not to be relied on" in out


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (("no_such_preset",), "no_such_preset"),
        (("vit_nano_conv8_32", "--device", "gpu:9"), "gpu:9"),
        (("vit_nano_conv8_32", "--batch-size", 0), "must be a positive integer, got 0"),
        (("vit_nano_conv8_32", "--precision", "float8"), "float8"),
        (("vit_nano_conv8_32", "--seconds", 0), "seconds must be positive"),
    ],
)
def test_what_can_t_be_measured_is_said(run, typed, message):
    code, _, err = run("bench", *typed)
    assert (code, message in err) == (2, True), err


def test_a_batch_that_should_not_fit_is_refused_with_one_that_should(monkeypatch):
    monkeypatch.setattr(speed, "free_bytes", lambda device: 2**22)
    most = memory.largest_batch(CONFIG, num_classes=1000, free=2**22)
    assert 1 < most < 1000
    with pytest.raises(InvalidArgumentError, match=f"about {most} would.*remat.*gradient_accumulation_steps"):
        speed.measure_speed(CONFIG, batch_sizes=[most + 1], precision="float32", seconds=0.01)
    found = speed.measure_speed(CONFIG, batch_sizes=[most], precision="float32", seconds=0.01)
    assert found.largest_batch == most


@pytest.mark.slow
def test_sizes_that_do_not_fit_are_left_out_of_training_by_default(monkeypatch):
    most = 20
    free = int((memory.training_bytes(CONFIG, num_classes=1000, batch_size=most) + 1000) / 0.9)
    monkeypatch.setattr(speed, "free_bytes", lambda device: free)
    found = speed.measure_speed(CONFIG, precision="float32", seconds=0.01)
    assert [rate.batch_size for rate in found.inference] == [1, 16, 64]
    assert [rate.batch_size for rate in found.training] == [1, 16]


def test_half_precision_makes_room_for_twice_the_images():
    whole, half = (
        memory.largest_batch(CONFIG, num_classes=10, free=2**30, bytes_per_number=number) for number in (4, 2)
    )
    assert half == pytest.approx(2 * whole, rel=0.01)


def test_free_memory_is_no_more_than_there_is():
    import psutil

    assert 0 < memory.free_bytes() <= psutil.virtual_memory().total


@pytest.mark.slow
def test_programs_compiled_by_jax_are_kept(tmp_path):
    """A second start of the same compiles nothing anew."""
    command = [
        Path(sys.executable).with_name("vit-keras"),
        "bench",
        "vit_nano_conv8_32",
        "--batch-size",
        "2",
        "--seconds",
        "0.01",
    ]
    given = os.environ | {"KERAS_BACKEND": "jax", "VIT_KERAS_CACHE": str(tmp_path)}
    given["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = (
        "0"  # all of them: which take a tenth of a second hangs on the machine
    )
    given.pop("JAX_COMPILATION_CACHE_DIR", None)

    def kept():
        subprocess.run(command, env=given, check=True, capture_output=True)
        return {path.name for path in (tmp_path / "compiled").rglob("*-cache")}

    first = kept()
    assert len(first) >= 2  # a prediction and a training step
    assert kept() == first
