import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

EXAMPLES = Path(__file__).parents[1] / "examples"

pytestmark = pytest.mark.slow


@pytest.fixture
def run_example(monkeypatch, capsys):
    """Returns a function that runs an example as a program, in this process, and returns what it prints."""

    def call(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out

    return call


def test_a_config_becomes_a_keras_file_that_loads(run_example):
    assert "bit-identical after loading: True, same config: True" in run_example("from_config_to_keras_file.py")


def test_a_folder_becomes_a_trained_model(run_example, tmp_path):
    rng = np.random.default_rng(0)
    for name, color in (("red", (255, 0, 0)), ("blue", (0, 0, 255))):
        (tmp_path / name).mkdir()
        for index in range(24):
            noise = rng.integers(0, 60, (40, 50, 3))
            Image.fromarray(np.clip(noise + color, 0, 255).astype("uint8")).save(tmp_path / name / f"{index}.png")
    assert "2 classes: blue, red" in run_example("train_on_your_folder.py", tmp_path, 1)


def test_an_encoder_is_pretrained_and_fine_tuned(run_example, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for name, color in (("red", (255, 0, 0)), ("blue", (0, 0, 255))):
        (tmp_path / "labeled" / name).mkdir(parents=True)
        for index in range(24):
            noise = rng.integers(0, 60, (40, 50, 3))
            image = Image.fromarray(np.clip(noise + color, 0, 255).astype("uint8"))
            image.save(tmp_path / "labeled" / name / f"{index}.png")
    out = run_example("pretrain_on_your_folder.py", "labeled", "labeled", 1)
    assert "random weights" in out
    assert "report: runs/labeled-1/report.html" in out


def start_ddp(process, count, folder, out, port):
    environment = {
        **os.environ, "KERAS_BACKEND": "torch", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count),
        "RANK": str(process), "LOCAL_RANK": str(process), "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    return subprocess.Popen(
        [sys.executable, str(EXAMPLES / "torch_ddp.py"), str(folder), str(out), "1"], env=environment
    )


def test_two_processes_of_torch_train_as_one(make_folder, tmp_path):
    import socket

    import vit_keras as vk

    folder = make_folder({"cat": 44, "dog": 44})
    for count in (1, 2):
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        processes = [start_ddp(process, count, folder, tmp_path / str(count), port) for process in range(count)]
        assert [process.wait(600) for process in processes] == [0] * count
    one, two = (vk.load_model(tmp_path / name).get_weights() for name in "12")
    untrained = vk.from_preset("vit_nano_patch4_32", num_classes=2).get_weights()
    assert max(abs(ours - start).max() for ours, start in zip(one, untrained, strict=True)) > 1e-3
    for ours, theirs in zip(two, one, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-5)
