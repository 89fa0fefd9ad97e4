import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

EXAMPLES = Path(__file__).parents[1] / "examples"

pytestmark = pytest.mark.slow


def run(name, *arguments):
    command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_a_config_becomes_a_keras_file_that_loads():
    assert "bit-identical after loading: True, same config: True" in run("from_config_to_keras_file.py")


def test_a_folder_becomes_a_trained_model(tmp_path):
    rng = np.random.default_rng(0)
    for name, color in (("red", (255, 0, 0)), ("blue", (0, 0, 255))):
        (tmp_path / name).mkdir()
        for index in range(24):
            noise = rng.integers(0, 60, (40, 50, 3))
            Image.fromarray(np.clip(noise + color, 0, 255).astype("uint8")).save(tmp_path / name / f"{index}.png")
    assert "2 classes: blue, red" in run("train_on_your_folder.py", tmp_path, 1)


def test_an_encoder_is_pretrained_and_fine_tuned(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for name, color in (("red", (255, 0, 0)), ("blue", (0, 0, 255))):
        (tmp_path / "labeled" / name).mkdir(parents=True)
        for index in range(24):
            noise = rng.integers(0, 60, (40, 50, 3))
            image = Image.fromarray(np.clip(noise + color, 0, 255).astype("uint8"))
            image.save(tmp_path / "labeled" / name / f"{index}.png")
    out = run("pretrain_on_your_folder.py", "labeled", "labeled", 1)
    assert "random weights" in out
    assert "report: runs/labeled-1/report.html" in out
