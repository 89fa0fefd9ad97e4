"""A preset directory's files are checked before anything is built."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vit_keras.data.images.decode import read_image
from vit_keras.data.images.preprocess import Preprocessing
from vit_keras.errors import CorruptFileError, InvalidArgumentError, StorageError, UnsafeFileError, VitKerasError
from vit_keras.zoo.from_preset import from_preset
from vit_keras.zoo.preset_directory import load_class_names, load_preprocessing, read_directory
from vit_keras.zoo.save_preset import save_preset


@pytest.fixture
def preset(tiny_preset, tmp_path) -> Path:
    """A preset directory that a test may change."""
    return Path(shutil.copytree(tiny_preset, tmp_path / "mine"))


def read_config(preset):
    return json.loads((preset / "config.json").read_text())


def rewrite_config(preset, **changes):
    (preset / "config.json").write_text(json.dumps({**read_config(preset), **changes}))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("\ufeff{}", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("\0\1\2", "not JSON"),
        ('{"é": 1}'.encode("latin-1"), "not JSON"),
        ('{"format": 1, "format": 1}', "'format' appears twice"),
        ('{"config": {"hidden_dim": 8, "hidden_dim": 9}}', "'hidden_dim' appears twice"),
        ('{"format": NaN}', "NaN is not a JSON number"),
        ('{"format": -Infinity}', "-Infinity is not a JSON number"),
        ('{\n"format": 1,\n}', "line 3 column 1"),
        ("[]", "this is not the config of a preset directory"),
        ("null", "this is not the config of a preset directory"),
        ('{"format": 1}', "this is not the config of a preset directory"),
        ('{"format": 1, "config": []}', "this is not the config of a preset directory"),
        ('{"note": "' + "x" * 2**22 + '"}', "bytes are too many"),
    ],
    ids=str,
)
def test_a22_a_damaged_config_is_corrupt(preset, content, message):
    (preset / "config.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(CorruptFileError, match=rf"config\.json: .*{message}"):
        from_preset(preset)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hiden_dim": 16}, "'hiden_dim'.*did you mean 'hidden_dim'"), ({"hidden_dim": 2**28}, "hidden_dim"),
        ({"hidden_dim": "16"}, "hidden_dim"), ({"num_layers": -1}, "num_layers"), ({"num_heads": 3}, "num_heads"),
        ({"remat": {}}, "remat"), ({"pixel_mean": [float("nan")]}, "NaN"), ({"norm_epsilon": float("nan")}, "NaN"),
    ],
)  # fmt: skip
def test_an_illegal_field_of_the_model_is_named_with_the_file(preset, change, message):
    rewrite_config(preset, config={**read_config(preset)["config"], **change})
    with pytest.raises(VitKerasError, match=rf"config\.json: .*{message}"):
        from_preset(preset)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        *(({"num_classes": classes}, VitKerasError, "num_classes") for classes in (0, "3", 2.5, True, [3])),
        *(({"format": number}, InvalidArgumentError, f"has format {number!r}; this version .* reads format 1") for number in (0, "1", None)),
        ({"format": 2, "vit_keras": "3.1.4"}, InvalidArgumentError, r"Use the version that wrote it: 3\.1\.4\."),
        *(({"sha256": value}, CorruptFileError, "sha256 is") for value in (3, [], {"model.safetensors": 3})),
    ],
    ids=str,
)  # fmt: skip
def test_a26_an_illegal_entry_of_the_config_is_named_with_the_file(preset, change, error, message):
    rewrite_config(preset, **change)
    with pytest.raises(error, match=rf"config\.json.*{message}"):
        read_directory(preset)


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("change", [{"class_name": "Lambda"}, {"module": "os"}, {"registered_name": "mine>Layer"}])
def test_a24_a_config_that_names_code_is_refused(preset, change, inside):
    rewrite_config(preset, **({"config": {**read_config(preset)["config"], **change}} if inside else change))
    with pytest.raises(UnsafeFileError, match=rf"config\.json: \['{next(iter(change))}'\] name code"):
        from_preset(preset)


def test_a_directory_without_preprocessing_resizes_without_a_crop(preset):
    assert "preprocessing" not in read_config(preset)
    assert load_preprocessing(preset) == Preprocessing(image_size=(16, 16))
    rewrite_config(preset, preprocessing=None)
    assert load_preprocessing(preset) == Preprocessing(image_size=(16, 16))


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"color": 1}, "'color'"), ({"crop": "0.9"}, "crop="), ({"crop": True}, "crop="), ({"crop": 0.01}, "crop="),
        ({"crop_mode": "middle"}, "crop_mode="), ({"crop_mode": ["center"]}, "expected strings"), ({"interpolation": {}}, "expected strings"),
        ({"image_size": 16}, "a list for image_size"), ({"image_size": [16, "16"]}, "image_size="), ({"image_size": [16]}, "image_size="),
        ({"image_size": [16, 24]}, "the model takes"), ({"channels": 1}, "the model takes"), ({"channels": 2.0}, "channels="),
    ],
)  # fmt: skip
def test_illegal_preprocessing_is_refused(preset, change, what):
    rewrite_config(preset, preprocessing={**Preprocessing(image_size=(16, 16)).to_dict(), **change})
    with pytest.raises(InvalidArgumentError, match=rf"config\.json: .*{what}"):
        read_directory(preset)


@pytest.mark.parametrize("value", [3, [], {}, "center", {"crop": 0.9}])
def test_preprocessing_of_another_kind_is_refused(preset, value):
    rewrite_config(preset, preprocessing=value)
    for read in (load_preprocessing, from_preset):
        with pytest.raises(InvalidArgumentError, match=r"config\.json: preprocessing is .*expected null, or exactly"):
            read(preset)


def test_predict_preprocesses_images_as_the_preset_says(run, tiny_model, tmp_path, rng):
    Image.fromarray(rng.integers(0, 256, (48, 64, 3)).astype("uint8")).save(tmp_path / "x.png")
    rule = Preprocessing(image_size=(16, 16), crop=0.5, interpolation="nearest")
    found = {}
    for name, saved in (("cropped", rule), ("whole", None)):
        path = save_preset(tiny_model, tmp_path / name, preprocessing=saved)
        code, out, _ = run("predict", path, tmp_path / "x.png", "--json")
        assert code == 0
        found[name] = {best["name"]: best["probability"] for best in json.loads(out)[0]["classes"]}
    logits = tiny_model.predict(read_image(tmp_path / "x.png", rule)[None], verbose=0)[0].astype("float64")
    exponentials = np.exp(logits - logits.max())
    expected = dict(zip("012", exponentials / exponentials.sum(), strict=True))
    assert found["cropped"] == pytest.approx(expected, rel=1e-5)
    assert found["whole"] != pytest.approx(expected, rel=1e-2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        *((content, "expected a list of class names") for content in ("{}", "[1, 2, 3]", '"cat"', '["cat", null]')),
        ('["cat"]', "1 class names for a model of 3 classes"),
        ("cat, dog", "not JSON"),
    ],
)
def test_damaged_class_names_are_corrupt(preset, content, message):
    (preset / "labels.json").write_text(content)
    with pytest.raises(CorruptFileError, match=rf"labels\.json: {message}"):
        load_class_names(preset)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "labels.json"])
@pytest.mark.parametrize("is_missing", [True, False])
def test_a_missing_or_unreadable_file_is_named(preset, monkeypatch, name, is_missing):
    opened = Path.open

    def refuse(path, *arguments, **keywords):
        if path.name == name:
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *arguments, **keywords)

    if is_missing:
        (preset / name).unlink()
    else:
        monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(StorageError, match=name):
        (load_class_names if name == "labels.json" else from_preset)(preset)
