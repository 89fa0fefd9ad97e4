"""Whatever is written has the permissions that the user's umask gives, so that colleagues and services can read it."""

import os
import stat

import keras
import numpy as np
import pytest
from permissions import find_wrong_permissions, umask
from rich.console import Console

import vit_keras as vk
from vit_keras.runtime.files import atomic_directory, atomic_file
from vit_keras.training.checkpoints.store import CheckpointStore
from vit_keras.weights import write

pytestmark = pytest.mark.any_backend

UMASKS = [pytest.param(0o022, id="022"), pytest.param(0o027, id="027")]
QUIET = Console(quiet=True)


@pytest.mark.parametrize("value", UMASKS)
def test_models_checkpoints_and_pages(value, tiny_model, tiny_config, tmp_path):
    with umask(value):
        root = tmp_path / "root"
        root.mkdir()
        saved = vk.save_preset(tiny_model, root / "preset")
        arrays = {weight.path: keras.ops.convert_to_numpy(weight) for weight in tiny_model.weights}
        for library in ("timm", "huggingface"):
            write(arrays, tiny_config, root / library, to=library)
        store = CheckpointStore(root / "checkpoints")
        store.save(1, {"weight": np.zeros(3)}, {"step": 1})
        store.wait()
        vk.explain.anatomy_report(vk.from_preset(saved), np.zeros((16, 16, 3), "uint8"), root / "anatomy.html")
    assert {path.name for path in root.rglob("*.safetensors")} == {"model.safetensors", "state.safetensors"}
    assert find_wrong_permissions(root, value) == {}


@pytest.mark.slow
def test_a_run_directory(tiny_config, tmp_path):
    value, rng = 0o027, np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (48, 16, 16, 3)).astype("uint8"), np.arange(48) % 2
    with umask(value):
        data = vk.data.load((images, labels), batch_size=16)
        model = vk.vit(tiny_config.replace(num_layers=1), num_classes=2)
        vk.train(model, data, epochs=1, run_dir=tmp_path / "run", console=QUIET)
    assert (tmp_path / "run" / "model" / "model.safetensors").is_file()
    assert find_wrong_permissions(tmp_path / "run", value) == {}


@pytest.mark.parametrize("value", UMASKS)
def test_what_commands_write(value, run, image_folder, tiny_preset, tmp_path, monkeypatch):
    monkeypatch.setenv("VIT_KERAS_CACHE", str(tmp_path / "root" / "cache"))
    root = tmp_path / "root"
    with umask(value):
        root.mkdir()
        for arguments in (
            ("data", "check", image_folder, "--report", root / "report.html"),
            ("data", "show", image_folder, "--image-size", 16, "--out", root / "sheet.png"),
            ("convert", tiny_preset, root / "model.keras", "--to", "keras"),
            ("convert", tiny_preset, root / "model.safetensors", "--to", "safetensors"),
        ):
            assert run(*arguments)[0] == 0, arguments
    names = {path.name for path in root.rglob("*")}
    assert {"report.html", "sheet.png", "model.keras", "model.safetensors", "manifest.jsonl", "quarantine.csv"} <= names
    assert find_wrong_permissions(root, value) == {}


def test_a_file_that_its_writer_closed_to_others_is_opened_to_them(tmp_path):
    with umask(0o022), atomic_file(tmp_path / "model.bin") as unfinished:
        os.close(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    assert stat.S_IMODE((tmp_path / "model.bin").stat().st_mode) == 0o644


def test_a_failed_writer_leaves_nothing(tmp_path):
    for kind in (atomic_file, atomic_directory):
        with pytest.raises(RuntimeError), kind(tmp_path / "x"):
            raise RuntimeError
    assert list(tmp_path.iterdir()) == []
