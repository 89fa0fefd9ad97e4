"""A bundle is used where vit_keras is not installed."""

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import oracle
import pytest
from PIL import Image

import vit_keras as vk
from vit_keras.errors import InvalidArgumentError, StorageError
from vit_keras.exporting import ExportRecord, read_record

NAMES = ("cat", "été {0} \\n %s", "owl, snowy")
SQUARE = {"image_size": (16, 16)}
WIDE = {"image_size": (16, 24)}
CASES = {
    "default": {},
    "cropped": {**SQUARE, "crop": 0.9, "interpolation": "bilinear"},
    "several labels": {**SQUARE, "crop_mode": "squash", "crop": 0.8, "interpolation": "lanczos"},
    "numbers": {**WIDE, "crop": 0.875},
    "border": {**SQUARE, "crop_mode": "border"},
    "cropped border": {**WIDE, "crop_mode": "border", "crop": 0.5, "interpolation": "nearest"},
    "gray": {**SQUARE, "channels": 1, "pixel_range": (0.0, 4095.0)},
}
FAST = ("default", "several labels", "numbers")


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """A folder that has numpy, Pillow, onnxruntime and what they need, and nothing else."""
    folder, waiting, found = tmp_path_factory.mktemp("packages"), ["numpy", "pillow", "onnxruntime"], set()
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        distribution = importlib.metadata.distribution(name)
        waiting += [re.split(r"[^\w.-]", line)[0] for line in distribution.requires or () if "extra ==" not in line]
        for top in {file.parts[0] for file in distribution.files or () if file.parts[0] not in ("..", "__pycache__")}:
            path = folder / top
            if not path.exists():
                path.symlink_to(distribution.locate_file(top))
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    pixels = rng.integers(0, 256, (37, 53, 4)).astype("uint8")
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(pixels[..., :3]).save(folder / "a turned.jpg", exif=turned)
    Image.fromarray(pixels).save(folder / "b clear.png")
    Image.fromarray(pixels[..., 0]).convert("P").save(folder / "c palette.gif", transparency=3)
    Image.fromarray(pixels[..., 0].astype("uint16") * 16).save(folder / "d deep.png")
    Image.fromarray(pixels[:16, :16, :3]).save(folder / "e exact.png")
    Image.fromarray(rng.integers(0, 256, (300, 20, 3)).astype("uint8")).save(folder / "f tall.webp")
    return sorted(folder.iterdir())


def make_preset(folder, case):
    rule = CASES[case]
    size, channels = rule.get("image_size", (16, 16)), rule.get("channels", 3)
    config = vk.ViTConfig(
        image_size=size, patch_size=8, hidden_dim=16, num_layers=2, num_heads=2, mlp_dim=32, channels=channels,
        pixel_mean=(0.5,) * channels, pixel_std=(0.5,) * channels,
    )  # fmt: skip
    model = oracle.randomize(vk.vit(config, num_classes=3), seed=3)
    if case == "several labels":
        model.task, model.threshold = "multi_label", 0.3
    elif case == "numbers":
        model.task = "regression"
    preprocessing = vk.data.Preprocessing(**rule) if rule else None
    return vk.save_preset(model, folder, class_names=NAMES, preprocessing=preprocessing)


def read_printed(text):
    """The words of each line, and the numbers in it as fractions."""
    lines = text.splitlines()
    numbers = [float(found) for line in lines for found in re.findall(r"^\s+(-?[\d.]+(?:e-?\d+)?)%?  ", line)]
    return [re.sub(r"^\s+-?[\d.]+(e-?\d+)?%?  ", "", line) for line in lines], numbers


@pytest.mark.parametrize("case", [pytest.param(each, marks=[] if each in FAST else pytest.mark.slow) for each in CASES])
def test_its_program_prints_what_vk_predict_says_without_vit_keras(tmp_path, packages, pictures, case):
    preset = make_preset(tmp_path / "preset", case)
    vk.export(preset, tmp_path / "pets.zip", softmax=case == "cropped")
    shutil.unpack_archive(tmp_path / "pets.zip", tmp_path / "pets")
    environment = {"PYTHONPATH": str(packages), "PATH": os.defpath, "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-S"]  # without this environment's site-packages
    absent = subprocess.run(
        [*command, "-c", "import vit_keras"], env=environment, capture_output=True, cwd=tmp_path, check=False
    )
    assert b"No module named 'vit_keras'" in absent.stderr
    done = subprocess.run(
        [*command, str(tmp_path / "pets" / "predict.py"), *pictures],
        env=environment,
        capture_output=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    words, numbers = read_printed(done.stdout.decode())
    expected_words, expected = read_printed(str(vk.predict(preset, pictures)))
    assert words == expected_words
    printed = 1e-5 if case == "numbers" else 0.011  # percentages have two decimals
    np.testing.assert_allclose(numbers, expected, rtol=1e-4, atol=printed)
    script = (tmp_path / "pets" / "predict.py").read_text("utf-8")
    assert len([line for line in script.splitlines() if line.strip()]) <= 42


def test_it_has_the_model_labels_preprocessing_license_and_card(tiny_preset, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(tiny_preset, run / "model")
    (run / "model" / "README.md").write_text("# pets\n\nAccuracy 98 %\n", "utf-8")
    name = "vit_small_patch16_224"
    tag, checkpoint = next(iter(vk.load_preset(name).weights.items()))
    (run / "run.json").write_text(json.dumps({"options": {"model": name, "weights": tag}}))
    result = vk.export(run, tmp_path / "pets.zip", softmax=True)
    assert (result.format, result.verification.largest_difference < 1e-4) == ("bundle", True)
    with zipfile.ZipFile(tmp_path / "pets.zip") as file:
        assert file.testzip() is None
        texts = {each: file.read(each) for each in file.namelist()}
    assert set(texts) == {
        "model.onnx", "predict.py", "requirements.txt", "labels.txt", "labels.json", "preprocessing.json", "LICENSE.txt", "README.md",
        "export.json",
    }  # fmt: skip
    assert json.loads(texts["labels.json"]) == ["cat", "dog", "owl"]
    assert texts["labels.txt"] == b"cat\ndog\nowl\n"
    assert json.loads(texts["preprocessing.json"])["image_size"] == [16, 16]
    assert checkpoint.license.encode() in texts["LICENSE.txt"]
    assert f"{name}:{tag}".encode() in texts["LICENSE.txt"]
    assert texts["README.md"].startswith(b"# pets")
    (tmp_path / "model.onnx").write_bytes(texts["model.onnx"])
    record = ExportRecord.from_json(texts["export.json"].decode())
    assert record == read_record(tmp_path / "model.onnx")
    assert record.verification["largest_difference"] < 1e-4
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith(".")] == []


def test_a_model_in_memory_has_a_new_card_and_int8_is_a_quarter_as_large(tiny_model, tmp_path):
    vk.export(tiny_model, tmp_path / "a.zip")
    result = vk.export(tiny_model, tmp_path / "b.zip", precision="int8")
    assert result.latency_before_ms is not None
    with zipfile.ZipFile(tmp_path / "a.zip") as file:
        assert b"library_name: vit_keras" in file.read("README.md")
        assert b"unknown" in file.read("LICENSE.txt")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.zip", "b.zip"]


def test_a_model_without_classes_another_ending_and_an_existing_file_are_refused(tiny_model, tiny_config, tmp_path):
    with pytest.raises(InvalidArgumentError, match="no head, so the program of a bundle would have no classes"):
        vk.export(vk.vit(tiny_config), tmp_path / "a.zip")
    with pytest.raises(InvalidArgumentError, match=r"must end in \.zip"):
        vk.export(tiny_model, tmp_path / "a", format="bundle")
    with pytest.raises(InvalidArgumentError, match="dynamic_image_size"):
        vk.export(tiny_model, tmp_path / "a.zip", dynamic_image_size=True)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "a.zip").write_text("mine")
    with pytest.raises(StorageError, match="nothing is overwritten"):
        vk.export(tiny_model, tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_text() == "mine"
