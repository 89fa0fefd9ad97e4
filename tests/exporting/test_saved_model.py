"""A SavedModel is what `vk.predict` is, in a process that has TensorFlow alone."""

import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from exporting.serve_alone import serve
from photos import photos

import vit_keras as vk
from vit_keras.data import Preprocessing

NAMES = ("cat", "Dögg", 'it\'s \\ "odd"')
FILES = {name: content for name, content in photos().items() if name.startswith(("jpeg", "png"))}


@pytest.fixture
def files(tmp_path):
    """The paths of `FILES`."""
    paths = []
    for name, content in FILES.items():
        paths.append(tmp_path / f"{name}.{name.split('_')[0]}")
        paths[-1].write_bytes(content)
    return paths


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A preset directory with a crop, its model, and the result of its export."""
    config = vk.ViTConfig(image_size=(32, 48), patch_size=8, hidden_dim=32, num_layers=2, num_heads=2, mlp_dim=64)
    model = vk.vit(config, num_classes=3)
    rng = np.random.default_rng(3)
    for weight in model.weights:
        weight.assign(keras.ops.convert_to_numpy(weight) + rng.normal(scale=0.1, size=weight.shape))
    rule = Preprocessing(image_size=(32, 48), crop=0.9, interpolation="bilinear")
    folder = tmp_path_factory.mktemp("saved")
    preset = vk.save_preset(model, folder / "preset", class_names=NAMES, preprocessing=rule)
    return preset, model, vk.export(preset, folder / "served", format="savedmodel")


def test_it_answers_pixels_and_files_as_predict_does(served, files, tmp_path):
    preset, model, result = served
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 48, 3), "uint8")
    np.savez(tmp_path / "images.npz", images=images)
    program, arrays = Path(__file__).with_name("serve_alone.py"), (tmp_path / "images.npz", tmp_path / "answers.npz")
    command = [sys.executable, "-P", *map(str, (program, result.path, *arrays, *files))]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    with np.load(tmp_path / "answers.npz", allow_pickle=True) as found:
        answers = {name: found[name] for name in found.files}
    expected = keras.ops.convert_to_numpy(model(images.astype("float32")))
    np.testing.assert_allclose(answers["pixels/logits"], expected, atol=1e-5)
    predictions = vk.predict(preset, files, top=None)
    for row, names, probabilities in zip(
        predictions, answers["files/classes"], answers["files/probabilities"], strict=True
    ):
        assert list(probabilities) == sorted(probabilities, reverse=True)
        found = dict(zip((name.decode() for name in names), probabilities, strict=True))
        # Equal pixels, but another order of sums, so the order of classes with equal probabilities may differ.
        np.testing.assert_allclose([found[name] for name in row.classes], row.probabilities, atol=1e-5)
    assert set(answers["files/error"]) == {b""}
    assert answers["none/classes"].shape == (0, 3)
    # Bad files between good ones: each row is answered.
    assert list(answers["mixed/error"]) == [
        b"not a JPEG or PNG file: convert others, such as WebP",
        b"",
        b"the file is damaged",
    ]
    assert list(answers["mixed/classes"][0]) == list(answers["mixed/classes"][2]) == [b""] * 3
    assert np.isnan(answers["mixed/probabilities"][[0, 2]]).all()
    np.testing.assert_allclose(answers["mixed/probabilities"][1], answers["files/probabilities"][0], atol=1e-6)


def test_its_assets_say_what_it_is(served):
    _, _, result = served
    record = json.loads((result.path / "assets" / "export.json").read_text("utf-8"))
    assert record["class_names"] == list(NAMES)
    assert record["preprocessing"]["crop"] == 0.9
    assert record["verification"]["largest_difference"] == result.verification.largest_difference <= 1e-5
    assert (result.path / "assets" / "labels.txt").read_text("utf-8").splitlines() == list(NAMES)
    assert sorted(each.name for each in result.path.parent.iterdir()) == ["preset", "served"]


@pytest.mark.parametrize("task", ["multi_label", "regression", "features", "softmax"])
@pytest.mark.slow
def test_each_task_is_answered_in_its_own_words(task, files, convert_here, tmp_path):
    config = vk.ViTConfig(image_size=16, patch_size=8, hidden_dim=16, num_layers=1, num_heads=2, mlp_dim=32, channels=1)
    model = vk.vit(config, num_classes=None if task == "features" else 7)
    rng = np.random.default_rng(4)
    for weight in model.weights:
        weight.assign(keras.ops.convert_to_numpy(weight) + rng.normal(scale=0.2, size=weight.shape))
    if task in ("multi_label", "regression"):
        model.task, model.class_names = task, tuple("abcdefg")
    result = vk.export(model, tmp_path / "served", format="savedmodel", softmax=task == "softmax")
    images = rng.integers(0, 256, (2, 16, 16, 1), "uint8")
    answers = serve(result.path, images, files)
    outputs = keras.ops.convert_to_numpy(model(images.astype("float32")))
    if task == "features":
        np.testing.assert_allclose(answers["pixels/features"], outputs, atol=1e-5)
        assert answers["files/features"].shape == (len(files), 16)
    elif task == "softmax":
        np.testing.assert_allclose(answers["pixels/probabilities"].sum(axis=1), 1, atol=1e-5)
        assert answers["files/classes"].shape == (len(files), 5)
    elif task == "regression":
        np.testing.assert_allclose(answers["pixels/numbers"], outputs, atol=1e-5)
        expected = np.array([row.values for row in vk.predict(model, files)])
        np.testing.assert_allclose(answers["files/numbers"], expected, atol=1e-4)
        assert np.isnan(answers["mixed/numbers"][[0, 2]]).all()
    else:
        np.testing.assert_allclose(answers["pixels/logits"], outputs, atol=1e-5)
        for row, names, probabilities in zip(
            vk.predict(model, files, top=None),
            answers["files/classes"],
            answers["files/probabilities"],
            strict=True,
        ):
            by_name = dict(zip((name.decode() for name in names), probabilities, strict=True))
            expected = dict(zip(row.classes, row.probabilities, strict=True))
            assert by_name == pytest.approx(expected, abs=1e-4)
