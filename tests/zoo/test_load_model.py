import json
import shutil

import keras
import numpy as np
import pytest

import vit_keras as vk
from vit_keras.errors import (
    CorruptFileError,
    InvalidArgumentError,
    ResumeError,
    StorageError,
    UnsafeFileError,
    WeightMismatchError,
)
from vit_keras.zoo.load_model import open_model


@pytest.fixture
def files(tiny_preset, tiny_model, tmp_path):
    """`tiny_model` in every form."""
    shutil.copytree(tiny_preset, tmp_path / "run" / "model")
    (tmp_path / "run" / "run.json").write_text('{"status": "finished"}')
    tiny_model.save(tmp_path / "tiny.keras")
    tiny_model.save_weights(tmp_path / "tiny.weights.h5")
    return tmp_path


@pytest.mark.parametrize("name", ["run", "run/model", "tiny.keras", "tiny.weights.h5"])
def test_every_form_gives_the_same_model(files, tiny_preset, tiny_model, rng, name):
    images = rng.integers(0, 256, (2, 16, 16, 3)).astype("uint8")
    model = vk.load_model(files / name, **({"preset": tiny_preset} if name.endswith("h5") else {}))
    np.testing.assert_array_equal(model.predict(images, verbose=0), tiny_model.predict(images, verbose=0))


def test_the_classes_of_a_weights_file_are_read_from_it(tmp_path):
    for classes in (7, 0):
        path = tmp_path / f"{classes}.weights.h5"
        vk.from_preset("vit_pico_patch4_32", num_classes=classes).save_weights(path)
        assert vk.load_model(path, preset="vit_pico_patch4_32").output_shape == (None, classes or 96)


def test_preprocessing_and_class_names_come_with_the_directory(tiny_model, tmp_path):
    rule = vk.data.Preprocessing(image_size=(16, 16), crop=0.875, interpolation="bilinear")
    vk.save_preset(tiny_model, tmp_path / "mine", class_names=list("abc"), preprocessing=rule)
    opened = open_model(str(tmp_path / "mine"))
    assert (opened.preprocessing, opened.class_names) == (rule, ("a", "b", "c"))
    opened = open_model(tiny_model)
    assert (opened.preprocessing, opened.class_names) == (vk.data.Preprocessing(image_size=(16, 16)), ("0", "1", "2"))


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("nowhere", StorageError, "there is no such file or directory"),
        ("empty", StorageError, "there is no model in this directory; expected a run directory"),
        ("unfinished", ResumeError, "not finished and has no model yet. Finish it: vit-keras finetune --resume"),
        ("searching", ResumeError, "this search is not finished.*vit-keras tune --resume"),
        ("photo.jpg", InvalidArgumentError, "this kind of file is not supported; expected a preset's NAME:TAG"),
        ("model.safetensors", InvalidArgumentError, r"use vk.from_preset\(NAME, weights="),
        ("text.keras", CorruptFileError, "not a .keras file, or truncated"),
        ("damaged.keras", CorruptFileError, "Keras could not load it"),
        ("lambda.keras", UnsafeFileError, "it contains code"),
        ("tiny.weights.h5", InvalidArgumentError, "give preset=NAME"),
    ],
)
def test_what_is_no_model_is_refused_with_the_way_out(files, name, error, message):
    for folder in ("empty", "unfinished", "searching"):
        (files / folder).mkdir()
    (files / "unfinished" / "run.json").write_text(json.dumps({"status": "interrupted", "command": "finetune"}))
    (files / "searching" / "journal.jsonl").write_text("")
    for file in ("photo.jpg", "model.safetensors", "text.keras"):
        (files / file).write_bytes(b"content")
    content = bytearray((files / "tiny.keras").read_bytes())
    content[len(content) // 2] ^= 255
    (files / "damaged.keras").write_bytes(content)
    keras.Sequential([keras.Input((2,)), keras.layers.Lambda(lambda x: x)]).save(files / "lambda.keras")
    with pytest.raises(error, match=message):
        vk.load_model(files / name)


def test_a_preset_that_does_not_fit_or_in_place_of_a_path_is_refused(files):
    with pytest.raises(InvalidArgumentError, match=r"preset= is for .weights.h5 files; leave it out"):
        vk.load_model(files / "tiny.keras", preset="vit_pico_patch4_32")
    with pytest.raises(WeightMismatchError, match="don't fit the preset 'vit_pico_patch4_32'"):
        vk.load_model(files / "tiny.weights.h5", preset="vit_pico_patch4_32")
    (files / "text.weights.h5").write_bytes(b"hello")
    with pytest.raises(CorruptFileError, match="not an HDF5 file"):
        vk.load_model(files / "text.weights.h5", preset="vit_pico_patch4_32")
    for name, message in (
        ("vit_pico_patch4_32", r"is a preset without weights: train it first. vk.from_preset\('vit_pico_patch4_32'\)"),
        ("test_vit", r"is a preset without weights: give test_vit:TAG, its tags are r160_in1k"),
    ):
        with pytest.raises(InvalidArgumentError, match=message):
            vk.load_model(name)
