import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_a_preset_is_measured(run):
    code, out, _ = run("bench", "vit_nano_conv8_32", "--batch-size", 2, "--batch-size", 4, "--seconds", 0.01, "--json")
    assert code == 0
    found = json.loads(out)
    for kind in ("inference", "training"):
        assert [rate["batch_size"] for rate in found[kind]] == [2, 4]
        for rate in found[kind]:
            assert 0 < rate["low"] <= rate["images_per_second"] <= rate["high"]
            assert 0 < rate["share_of_matmul_rate"] < 1.5
    assert found["attention"].startswith("batched matrix products")
    assert found["largest_batch"] > 1000


@pytest.mark.slow
def test_unreliable_figures_are_marked(run, monkeypatch):
    monkeypatch.setattr("os.getloadavg", lambda: (64.0, 0.0, 0.0))
    code, out, _ = run("bench", "vit_nano_conv8_32", "--batch-size", 2, "--seconds", 0.01)
    assert code == 0
    assert "unreliable:" in out


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
def test_wrong_arguments_exit_2(refused, typed, message):
    refused(2, message, "bench", *typed)


@pytest.mark.slow
def test_programs_compiled_by_jax_are_cached(small_preset, tmp_path):
    program = Path(sys.executable).with_name("vit-keras")
    command = [program, "bench", small_preset, "--batch-size", "2", "--seconds", "0.01"]
    # Cache all programs: which of them compile for a tenth of a second depends on the machine.
    given = os.environ | {
        "KERAS_BACKEND": "jax", "VIT_KERAS_CACHE": str(tmp_path), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }  # fmt: skip
    given.pop("JAX_COMPILATION_CACHE_DIR", None)

    def list_cached():
        subprocess.run(command, env=given, check=True, capture_output=True)
        return {path.name for path in (tmp_path / "compiled").rglob("*-cache")}

    first = list_cached()
    assert len(first) >= 2  # a prediction and a training step
    assert list_cached() == first
