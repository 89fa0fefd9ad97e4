"""Several processes on this machine evaluate, predict and save as one process does."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from vit_keras.distributed.launch import local_environments, run_processes

pytestmark = [pytest.mark.any_backend, pytest.mark.slow]  # in processes of their own, on JAX


def run_together(count, *arguments):
    command = [sys.executable, str(Path(__file__).with_name("evaluate_once.py")), *map(str, arguments)]
    environment = {**os.environ, "KERAS_BACKEND": "jax", "TF_CPP_MIN_LOG_LEVEL": "3"}
    assert run_processes(command, local_environments(count, environment), grace_seconds=20) == 0


@pytest.fixture(scope="module")
def images(tiny_preset, tmp_path_factory):
    """Eleven images that no number of devices here divides, and one that can't be read."""
    from PIL import Image

    root, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for name, count in {"cat": 6, "dog": 5}.items():
        (root / name).mkdir()
        for index in range(count):
            pixels = rng.integers(0, 256, (20, 24, 3)).astype("uint8")
            Image.fromarray(pixels).save(root / name / f"{index}.png")
    (root / "cat" / "3b.png").write_bytes(b"not an image")
    return root


@pytest.fixture(scope="module")
def alone(tiny_preset, images, tmp_path_factory):
    out = tmp_path_factory.mktemp("alone")
    run_together(1, tiny_preset, images, out, "none", 1)
    return out


def read(folder, process=0):
    return json.loads((folder / f"found-{process}.json").read_text())


@pytest.mark.parametrize(("processes", "distribution", "devices"), [(2, "data", 1), (2, "fsdp", 2)])
def test_every_process_gets_the_result_of_one(tiny_preset, images, alone, tmp_path, processes, distribution, devices):
    import vit_keras as vk

    run_together(processes, tiny_preset, images, tmp_path, distribution, devices)
    expected = read(alone)
    for process in range(processes):
        found = read(tmp_path, process)
        assert (found["devices"], found["chief"]) == (processes * devices, process == 0)
        assert (found["spread"] > 0) == (distribution == "fsdp")
        assert found["labels"] == expected["labels"]
        np.testing.assert_allclose(found["probabilities"], expected["probabilities"], atol=1e-6)
        np.testing.assert_allclose(found["outputs"], expected["outputs"], atol=1e-5)
        assert found["summary"] == pytest.approx(expected["summary"], abs=1e-6)
        assert [row["file"] for row in found["rows"]] == [row["file"] for row in expected["rows"]]
        assert [row.get("error") for row in found["rows"]] == [row.get("error") for row in expected["rows"]]
        assert sum("error" in row for row in found["rows"]) == 1
        for ours, theirs in zip(found["rows"], expected["rows"], strict=True):
            ones, others = (
                {each["name"]: each["probability"] for each in row.get("classes", [])} for row in (ours, theirs)
            )
            assert ones == pytest.approx(others, abs=1e-6)
    assert len((tmp_path / "table.csv").read_text().splitlines()) == 12  # a header, and every image once
    original = vk.load_model(tiny_preset).get_weights()
    loaded = vk.load_model(tmp_path / "preset")
    for weights in (loaded.get_weights(), vk.load_model(tmp_path / "model.keras").get_weights()):
        assert all((one == two).all() for one, two in zip(original, weights, strict=True))
    loaded.load_weights(tmp_path / "model.weights.h5")
    assert all((one == two).all() for one, two in zip(original, loaded.get_weights(), strict=True))
