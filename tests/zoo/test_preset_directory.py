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
    ("file", "content", "message"),
    [
        *(("config", content, "not JSON") for content in (b"", b"{", "\ufeff{}".encode(), b"[" * 100_000, b"\0\1\2", b"\xe9")),
        ("config", b'{"format": 1, "format": 1}', "'format' appears twice"),
        ("config", b'{"config": {"hidden_dim": 8, "hidden_dim": 9}}', "'hidden_dim' appears twice"),
        ("config", b'{"format": NaN}', "NaN is not a JSON number"),
        ("config", b'{"format": -Infinity}', "-Infinity is not a JSON number"),
        ("config", b'{\n"format": 1,\n}', "line 3 column 1"),
        *(("config", content, "this is not the config of a preset directory") for content in (b"[]", b"null", b'{"format": 1, "config": []}')),
        ("config", b'{"note": "' + b"x" * 2**22 + b'"}', "bytes are too many"),
        *(("labels", content, "expected a list of class names") for content in (b"{}", b"[1, 2, 3]", b'["cat", null]')),
        ("labels", b'["cat"]', "1 class names for a model of 3 classes"),
        ("labels", b"cat, dog", "not JSON"),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
def test_a22_a_damaged_config_or_list_of_class_names_is_corrupt(preset, file, content, message):
    (preset / f"{file}.json").write_bytes(content)
    with pytest.raises(CorruptFileError, match=rf"{file}\.json: .*{message}"):
        (from_preset if file == "config" else load_class_names)(preset)


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
    with pytest.raises(UnsafeFileError, match=rf"config\.json: {next(iter(change))} name code"):
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
        *((kind, "preprocessing is .*expected null, or exactly") for kind in (3, [], "center")),
    ],
)  # fmt: skip
def test_illegal_preprocessing_is_refused(preset, change, what):
    rule = Preprocessing(image_size=(16, 16)).to_dict()
    rewrite_config(preset, preprocessing={**rule, **change} if isinstance(change, dict) else change)
    for read in (load_preprocessing, from_preset):
        with pytest.raises(InvalidArgumentError, match=rf"config\.json: .*{what}"):
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
