import json
import shutil
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import oracle
import pytest
from contracts import JIT
from huggingface_hub import ModelCard
from PIL import Image

from vit_keras.data.images.decode import read_image
from vit_keras.data.images.preprocess import Preprocessing, preset_preprocessing
from vit_keras.errors import (
    CorruptFileError,
    InvalidArgumentError,
    StorageError,
    UnsafeFileError,
    VitKerasError,
    WeightMismatchError,
)
from vit_keras.models.vit import model_config, vit
from vit_keras.presets import list_presets, load_preset
from vit_keras.weights import load, write
from vit_keras.zoo.preset_directory import from_preset, load_class_names, load_preprocessing, save_preset

SMALL = "vit_pico_patch4_32"


@pytest.fixture
def preset(tiny_preset, tmp_path) -> Path:
    """A preset directory that a test may change."""
    return Path(shutil.copytree(tiny_preset, tmp_path / "mine"))


def arrays(model):
    return {weight.path: keras.ops.convert_to_numpy(weight) for weight in model.weights}


def rewrite_config(preset, **changes):
    path = preset / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_name_gives_the_presets_model_without_a_head():
    model = from_preset(SMALL)
    assert model_config(model) == load_preset(SMALL).config
    assert model.name == SMALL
    assert model.output_shape == (None, 96)


@pytest.mark.parametrize("name", [name for name in list_presets() if load_preset(name).params < 1e6])
def test_a_small_preset_runs_forward_and_backward(name):
    model = oracle.randomise(from_preset(name, num_classes=3))
    images = np.random.default_rng(0).integers(0, 256, (2, *model.input_shape[1:])).astype("uint8")
    before = arrays(model)
    model.compile(keras.optimizers.SGD(1e-2), "mse", jit_compile=JIT)
    model.train_on_batch(images, np.ones((2, 3), "float32"))
    for path, array in arrays(model).items():
        assert np.isfinite(array).all(), path
        assert "/moving_" in path or not np.array_equal(array, before[path]), path


def test_num_classes_puts_a_head_on():
    assert from_preset(SMALL, num_classes=7).output_shape == (None, 7)


def test_image_size_and_fields_replace_the_presets():
    model = from_preset(SMALL, image_size=24, num_layers=1, pooling="map")
    assert model_config(model) == load_preset(SMALL).config.replace(image_size=24, num_layers=1, pooling="map")
    assert from_preset(SMALL, image_size=(16, 48), num_layers=1).input_shape == (None, 16, 48, 3)


def test_what_was_saved_comes_back_to_the_bit(tiny_model, tiny_preset, rng):
    loaded = from_preset(tiny_preset)
    assert model_config(loaded) == model_config(tiny_model)
    before, after = arrays(tiny_model), arrays(loaded)
    assert after.keys() == before.keys()
    for name in before:
        np.testing.assert_array_equal(after[name], before[name])
    images = rng.integers(0, 256, (5, 16, 16, 3)).astype("uint8")
    np.testing.assert_array_equal(loaded.predict(images, verbose=0), tiny_model.predict(images, verbose=0))


def test_a_directory_may_be_given_as_text(tiny_preset):
    assert from_preset(str(tiny_preset)).output_shape == (None, 3)


def test_a_model_without_a_head_comes_back_without_one(tiny_config, tmp_path):
    loaded = from_preset(save_preset(vit(tiny_config), tmp_path / "headless"))
    assert loaded.output_shape == (None, 16)
    assert load_class_names(tmp_path / "headless") == ()


def test_the_same_number_of_classes_keeps_the_head(tiny_model, tiny_preset):
    kept, saved = arrays(from_preset(tiny_preset, num_classes=3)), arrays(tiny_model)
    np.testing.assert_array_equal(kept["head/kernel"], saved["head/kernel"])


def test_another_number_of_classes_renews_the_head_at_zero_and_keeps_the_rest(tiny_model, tiny_preset):
    loaded, saved = arrays(from_preset(tiny_preset, num_classes=5)), arrays(tiny_model)
    assert loaded["head/kernel"].shape == (16, 5)
    assert not loaded["head/kernel"].any()
    assert not loaded["head/bias"].any()
    for name in saved.keys() - {"head/kernel", "head/bias"}:
        np.testing.assert_array_equal(loaded[name], saved[name])


def test_a17_a18_what_was_changed_to_make_weights_fit_is_said(tiny_preset, caplog):
    from_preset(tiny_preset, num_classes=5, image_size=32)
    assert [message.split(": ", 1)[0] for message in caplog.messages] == [str(tiny_preset)] * 2
    assert "positions resized from 2x2 to 4x4 patches" in caplog.text
    assert "3 classes of 16 features, the model's 5 of 16: the model's own is kept" in caplog.text


def test_a17_weights_of_another_number_of_classes_need_it_told(tiny_config, tiny_preset, tmp_path):
    other = save_preset(vit(tiny_config, num_classes=5), tmp_path / "other")
    with pytest.raises(WeightMismatchError, match=r"head/kernel is \(16, 3\)"):
        from_preset(tiny_preset, weights=other)
    assert from_preset(tiny_preset, weights=other, num_classes=2).output_shape == (None, 2)


def test_fields_without_weights_may_change_on_a_saved_model(tiny_preset):
    assert model_config(from_preset(tiny_preset, stochastic_depth_rate=0.2)).stochastic_depth_rate == 0.2


def test_fields_that_change_the_weights_do_not_fit_the_saved_ones(tiny_preset):
    with pytest.raises(WeightMismatchError, match="missing"):
        from_preset(tiny_preset, num_layers=3)


def test_weights_may_be_the_path_of_a_file_or_of_a_preset_directory(tiny_config, tiny_model, tiny_preset, tmp_path):
    other = save_preset(vit(tiny_config, num_classes=3), tmp_path / "other")
    for weights in (tiny_preset, str(tiny_preset / "model.safetensors")):
        loaded = arrays(from_preset(other, weights=weights))
        np.testing.assert_array_equal(loaded["head/kernel"], arrays(tiny_model)["head/kernel"])


def test_weights_of_another_model_name_the_misfits(tiny_preset):
    with pytest.raises(
        WeightMismatchError, match=r"says hidden_dim=16, num_layers=2, mlp_dim=32, and the preset has 96, 4, 192"
    ):
        from_preset(SMALL, weights=tiny_preset / "model.safetensors")


@pytest.fixture
def published(monkeypatch, tmp_path):
    """What `fetch` was asked for, answered with a checkpoint of `test_vit` under timm's names."""
    source = vit(load_preset("test_vit").config, num_classes=1000)
    arrays = {weight.path: keras.ops.convert_to_numpy(weight) for weight in source.weights}
    arrays["head/bias"] = np.arange(1000, dtype="float32")
    folder = write(arrays, load_preset("test_vit").config, tmp_path / "published", to="timm")
    asked = []

    def fetch(url, *, sha256, max_bytes, progress):
        progress(1, 2)
        asked.append({"url": url, "sha256": sha256, "max_bytes": max_bytes})
        return folder / "model.safetensors"

    monkeypatch.setattr("vit_keras.zoo.preset_directory.fetch", fetch)
    return asked


def test_a_tag_gives_the_published_weights_with_their_head(published):
    model = from_preset("test_vit", weights="r160_in1k")
    assert model.output_shape == (None, 1000)
    np.testing.assert_array_equal(arrays(model)["head/bias"], np.arange(1000))
    (asked,) = published
    assert asked["url"] == "hf://timm/test_vit.r160_in1k/model.safetensors"
    assert 4 * model.count_params() < asked["max_bytes"] < 100e6


@pytest.mark.parametrize(("num_classes", "shape"), [(0, (None, 64)), (5, (None, 5)), (1000, (None, 1000))])
def test_a_tag_gives_the_head_that_is_asked_for(published, num_classes, shape):
    model = from_preset("test_vit", weights="r160_in1k", num_classes=num_classes)
    assert model.output_shape == shape
    if num_classes == 5:
        assert not arrays(model)["head/bias"].any()


def test_published_weights_fit_another_image_size_patch_size_channels_and_depth(published):
    model = from_preset(
        "test_vit", weights="r160_in1k", num_classes=3, image_size=(64, 96), patch_size=8, channels=4, num_layers=2
    )
    assert model.input_shape == (None, 64, 96, 4)
    assert model_config(model).num_layers == 2


def test_what_differs_with_a_checkpoint_is_in_the_config(published, monkeypatch):
    monkeypatch.setattr("vit_keras.zoo.preset_directory.load", lambda *arguments, **keywords: SimpleNamespace(notes=()))
    model = from_preset("vit_base_patch16_224", weights="dino", num_layers=1)
    assert model_config(model).pixel_std == (0.229, 0.224, 0.225)
    assert model_config(model).position_resize == "bicubic_offset"
    assert model.output_shape == (None, 768)


def test_weights_under_a_restricted_license_ask_to_be_accepted(published, monkeypatch):
    with pytest.raises(InvalidArgumentError, match=r"under the CC-BY-NC-4\.0, .* pass accept_license=True"):
        from_preset("vit_base_patch16_224", weights="mae", num_layers=1)
    assert not published
    monkeypatch.setattr("vit_keras.zoo.preset_directory.load", lambda *arguments, **keywords: SimpleNamespace(notes=()))
    assert from_preset("vit_base_patch16_224", weights="mae", num_layers=1, accept_license=True)
    assert published


def test_a_checkpoint_of_another_library_brings_its_head(published, tmp_path):
    assert from_preset("test_vit", weights=tmp_path / "published").output_shape == (None, 1000)


def test_unknown_weights_of_a_preset_name_its_tags():
    with pytest.raises(InvalidArgumentError, match=r"no weights 'imagenet'.*its tags are \[\].*weights=None"):
        from_preset(SMALL, weights="imagenet")


@pytest.mark.parametrize("weights", [Path("nowhere.safetensors"), Path("nowhere")])
def test_a_weights_file_that_is_not_there_is_named(weights):
    with pytest.raises(StorageError, match="nowhere"):
        from_preset(SMALL, weights=weights)


def test_an_unknown_preset_proposes_the_closest():
    with pytest.raises(InvalidArgumentError, match="'vit_pico_patch4_32'"):
        from_preset("vit_pico_patch4_33")


def test_a_directory_that_is_not_there_is_named(tmp_path):
    for directory in (tmp_path / "nowhere", str(tmp_path / "nowhere")):
        with pytest.raises(StorageError, match="nowhere: there is no such preset directory"):
            from_preset(directory)


@pytest.mark.parametrize(
    "arguments",
    [{"num_classes": -1}, {"num_classes": 2.5}, {"image_size": 33}, {"num_heads": 5}, {"hiden_dim": 8}, {"image_size": "big"}],
)  # fmt: skip
def test_illegal_arguments_are_refused_by_field(arguments):
    with pytest.raises(InvalidArgumentError, match=next(iter(arguments))):
        from_preset(SMALL, **arguments)


def test_several_illegal_fields_are_refused_at_once():
    with pytest.raises(InvalidArgumentError, match=r"hidden_dim=0.*stem='convv'"):
        from_preset(SMALL, hidden_dim=0, stem="convv")


def test_a_path_means_a_directory_even_where_its_name_is_a_presets(tiny_preset, tmp_path, monkeypatch):
    shutil.copytree(tiny_preset, tmp_path / SMALL)
    monkeypatch.chdir(tmp_path)
    assert from_preset(Path(SMALL)).output_shape == (None, 3)


def test_a_preset_directory_has_four_files(tiny_preset):
    assert {item.name for item in tiny_preset.iterdir()} == {
        "config.json",
        "model.safetensors",
        "labels.json",
        "README.md",
    }


def test_the_model_card_says_what_the_model_is(tiny_config, tmp_path):
    card = (
        save_preset(vit(tiny_config, num_classes=2), tmp_path / "mine", notes="Trained on cats.") / "README.md"
    ).read_text()
    assert "16x16 px" in card
    assert "Trained on cats." in card


@pytest.mark.parametrize(("classes", "task"), [(2, "image-classification"), (None, "image-feature-extraction")])
def test_the_model_card_begins_with_what_hugging_face_reads(tiny_config, tmp_path, classes, task):
    data = ModelCard.load(save_preset(vit(tiny_config, num_classes=classes), tmp_path / "mine") / "README.md").data
    assert (data.library_name, data.pipeline_tag, data.license) == ("vit_keras", task, "unknown")
    assert {"keras", "vision-transformer", task} <= set(data.tags)
    assert data.metrics == (["accuracy"] if classes else None)


def test_names_in_the_model_card_are_text(tiny_config, tmp_path):
    names = ["<b>bold</b>", "two\nlines", "---"]
    path = save_preset(vit(tiny_config, num_classes=3), tmp_path / "mine", class_names=names) / "README.md"
    assert "3 classes: &lt;b&gt;bold&lt;/b&gt;, two\\\\nlines, ---" in path.read_text()
    assert ModelCard.load(path).data.license == "unknown"


def test_how_images_are_resized_comes_back(tiny_model, tmp_path):
    rule = Preprocessing(image_size=(16, 16), crop=0.875, crop_mode="border", interpolation="bilinear")
    path = save_preset(tiny_model, tmp_path / "mine", preprocessing=rule)
    assert load_preprocessing(path) == load_preprocessing(str(path)) == rule
    assert json.loads((path / "config.json").read_text())["preprocessing"] == rule.to_dict()


def test_the_rule_of_published_weights_may_be_saved(published, tmp_path):
    rule = preset_preprocessing("test_vit", weights="r160_in1k")
    path = save_preset(from_preset("test_vit", weights="r160_in1k"), tmp_path / "mine", preprocessing=rule)
    assert load_preprocessing(path) == rule
    assert rule.crop < 1


def test_a_directory_that_says_nothing_of_resizing_is_the_models_size_uncut(preset):
    assert "preprocessing" not in json.loads((preset / "config.json").read_text())
    assert load_preprocessing(preset) == Preprocessing(image_size=(16, 16))
    rewrite_config(preset, preprocessing=None)
    assert load_preprocessing(preset) == Preprocessing(image_size=(16, 16))


@pytest.mark.parametrize("rule", [Preprocessing(image_size=(16, 24)), Preprocessing(image_size=(16, 16), channels=1)])
def test_a_rule_for_another_model_is_not_saved(tiny_model, tmp_path, rule):
    with pytest.raises(InvalidArgumentError, match=r"the model takes \(16, 16, 3\)"):
        save_preset(tiny_model, tmp_path / "mine", preprocessing=rule)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"colour": 1}, "'colour'"), ({"crop": "0.9"}, "crop="), ({"crop": True}, "crop="), ({"crop": 0.01}, "crop="),
        ({"crop_mode": "middle"}, "crop_mode="), ({"crop_mode": ["center"]}, "expected words"), ({"interpolation": {}}, "expected words"),
        ({"image_size": 16}, "a list for image_size"), ({"image_size": [16, "16"]}, "image_size="), ({"image_size": [16]}, "image_size="),
        ({"image_size": [16, 24]}, "the model takes"), ({"channels": 1}, "the model takes"), ({"channels": 2.0}, "channels="),
    ],
)  # fmt: skip
def test_a_rule_of_resizing_that_is_not_legal_is_refused_by_everything_that_reads_it(preset, change, what):
    rewrite_config(preset, preprocessing={**Preprocessing(image_size=(16, 16)).to_dict(), **change})
    for read in (load_preprocessing, from_preset):
        with pytest.raises(InvalidArgumentError, match=rf"config\.json: .*{what}"):
            read(preset)


@pytest.mark.parametrize("value", [3, [], {}, "center", {"crop": 0.9}])
def test_a_rule_of_resizing_that_is_none_is_refused(preset, value):
    rewrite_config(preset, preprocessing=value)
    with pytest.raises(InvalidArgumentError, match=r"config\.json: preprocessing is .*expected null, or exactly"):
        load_preprocessing(preset)


def test_predict_cuts_images_as_the_preset_says(run, tiny_model, tmp_path, rng):
    Image.fromarray(rng.integers(0, 256, (48, 64, 3)).astype("uint8")).save(tmp_path / "x.png")
    rule = Preprocessing(image_size=(16, 16), crop=0.5, interpolation="nearest")
    said = {}
    for name, saved in (("cut", rule), ("whole", None)):
        path = save_preset(tiny_model, tmp_path / name, preprocessing=saved)
        code, out, _ = run("predict", path, tmp_path / "x.png", "--json")
        assert code == 0
        said[name] = {best["name"]: best["probability"] for best in json.loads(out)[0]["classes"]}
    logits = tiny_model.predict(read_image(tmp_path / "x.png", rule)[None], verbose=0)[0].astype("float64")
    shares = np.exp(logits - logits.max())
    expected = dict(zip("012", shares / shares.sum(), strict=True))
    assert said["cut"] == pytest.approx(expected, rel=1e-5)
    assert said["whole"] != pytest.approx(expected, rel=1e-2)


def test_labels_come_back_in_any_script(tiny_config, tmp_path):
    names = ("été", "猫", "😀 & <b>")
    assert load_class_names(save_preset(vit(tiny_config, num_classes=3), tmp_path / "mine", class_names=names)) == names


def test_labels_are_numbers_by_default(tiny_config, tmp_path):
    assert load_class_names(save_preset(vit(tiny_config, num_classes=3), tmp_path / "mine")) == ("0", "1", "2")


def test_class_names_must_be_as_many_as_the_classes(tiny_model, tmp_path):
    with pytest.raises(InvalidArgumentError, match="2 class names for a model of 3 classes"):
        save_preset(tiny_model, tmp_path / "mine", class_names=["a", "b"])
    assert not list(tmp_path.iterdir())


def test_a_model_of_someone_else_is_refused(tmp_path):
    inputs = keras.Input((4,))
    with pytest.raises(InvalidArgumentError, match="not made by vit_keras"):
        save_preset(keras.Model(inputs, keras.layers.Dense(2)(inputs)), tmp_path / "mine")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["full folder", "empty folder", "file"])
def test_nothing_is_overwritten(tiny_model, tmp_path, kind):
    target = tmp_path / "mine"
    if kind == "file":
        target.write_text("mine")
    else:
        target.mkdir()
    if kind == "full folder":
        (target / "notes.txt").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(StorageError, match="mine exists"):
        save_preset(tiny_model, target)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "step", ["vit_keras.weights.store.save_file", "vit_keras.weights.store.os.fsync", "pathlib.Path.rename"]
)
def test_a_failure_while_saving_leaves_nothing(tiny_model, tmp_path, monkeypatch, step):
    def full(*arguments, **keywords):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(step, full)
    with pytest.raises(StorageError, match="No space left on device"):
        save_preset(tiny_model, tmp_path / "mine")
    assert not list(tmp_path.iterdir())


def test_an_interruption_while_saving_leaves_nothing(tiny_model, tmp_path, monkeypatch):
    def interrupted(*arguments, **keywords):
        raise KeyboardInterrupt

    monkeypatch.setattr("vit_keras.zoo.preset_directory.write_tensors", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_preset(tiny_model, tmp_path / "mine")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", ["", "{", "[1, 2", "\ufeff{}", "nul", "[" * 100_000, "\0\1\2"])
def test_a_config_that_is_not_json_is_corrupt(preset, content):
    (preset / "config.json").write_text(content)
    with pytest.raises(CorruptFileError, match=r"config\.json: not JSON"):
        from_preset(preset)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ('{"format": 1, "format": 1}', "'format' appears twice"),
        ('{"config": {"hidden_dim": 8, "hidden_dim": 9}}', "'hidden_dim' appears twice"),
        ('{"format": NaN}', "NaN is not a JSON number"),
        ('{"format": -Infinity}', "-Infinity is not a JSON number"),
        ('{\n"format": 1,\n}', "line 3 column 1"),
    ],
)
def test_a22_a_config_that_says_what_json_cannot_is_corrupt(preset, content, what):
    (preset / "config.json").write_text(content)
    with pytest.raises(CorruptFileError, match=rf"config\.json: .*{what}"):
        from_preset(preset)


def test_a_config_in_another_encoding_is_corrupt(preset):
    (preset / "config.json").write_bytes('{"é": 1}'.encode("latin-1"))
    with pytest.raises(CorruptFileError, match=r"config\.json: not JSON"):
        from_preset(preset)


@pytest.mark.parametrize("content", ["[]", "3", "null", "{}", '{"format": 1}', '{"format": 1, "config": []}'])
def test_a_config_of_something_else_is_corrupt(preset, content):
    (preset / "config.json").write_text(content)
    with pytest.raises(CorruptFileError, match=r"config\.json: this is no config of a preset directory"):
        from_preset(preset)


def test_a_config_with_an_unknown_field_names_it_and_the_file(preset):
    config = json.loads((preset / "config.json").read_text())["config"]
    rewrite_config(preset, config={**config, "hiden_dim": 16})
    with pytest.raises(InvalidArgumentError, match=r"config\.json: .*'hiden_dim'.*did you mean 'hidden_dim'"):
        from_preset(preset)


@pytest.mark.parametrize(
    "change",
    [{"hidden_dim": 2**28}, {"hidden_dim": "16"}, {"num_layers": -1}, {"num_heads": 3}, {"remat": {}}],
)  # fmt: skip
def test_an_illegal_field_in_a_config_is_refused_before_anything_is_built(preset, change):
    config = json.loads((preset / "config.json").read_text())["config"]
    rewrite_config(preset, config={**config, **change})
    with pytest.raises(InvalidArgumentError, match=rf"config\.json: .*{next(iter(change))}"):
        from_preset(preset)


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("change", [{"class_name": "Lambda"}, {"module": "os"}, {"registered_name": "mine>Layer"}])
def test_a24_a_config_that_names_code_is_refused(preset, change, inside):
    config = json.loads((preset / "config.json").read_text())["config"]
    rewrite_config(preset, **({"config": {**config, **change}} if inside else change))
    with pytest.raises(UnsafeFileError, match=rf"config\.json: \['{next(iter(change))}'\] name code"):
        from_preset(preset)


@pytest.mark.parametrize("field", ["pixel_mean", "pixel_std", "norm_epsilon"])
def test_a_config_with_a_number_that_is_none_is_refused(preset, field):
    config = json.loads((preset / "config.json").read_text())["config"]
    value = float("nan") if field == "norm_epsilon" else [float("nan")]
    rewrite_config(preset, config={**config, field: value})
    with pytest.raises(VitKerasError, match=r"config\.json"):
        from_preset(preset)


@pytest.mark.parametrize("classes", [0, -3, "3", 2.5, True, [3]])
def test_a_config_with_impossible_classes_names_the_file(preset, classes):
    rewrite_config(preset, num_classes=classes)
    with pytest.raises(VitKerasError, match=r"config\.json.*num_classes"):
        from_preset(preset)


@pytest.mark.parametrize("number", [0, 2, "1", None])
def test_another_format_is_refused(preset, number):
    rewrite_config(preset, format=number)
    with pytest.raises(
        InvalidArgumentError, match=rf"config\.json has format {number!r}; this version .* reads format 1"
    ):
        from_preset(preset)


def test_a26_a_newer_format_says_which_version_reads_it(preset):
    rewrite_config(preset, format=2, vit_keras="3.1.4")
    with pytest.raises(InvalidArgumentError, match=r"It needs the version that wrote it: 3\.1\.4\."):
        from_preset(preset)


def test_a_config_over_the_limit_is_not_read(preset):
    rewrite_config(preset, note="x" * 2**20)
    with pytest.raises(CorruptFileError, match=r"config\.json: .* bytes are too many"):
        from_preset(preset)


def test_a_file_that_is_missing_is_named(preset):
    for name, read in (
        ("config.json", from_preset),
        ("model.safetensors", from_preset),
        ("labels.json", load_class_names),
    ):
        content = (preset / name).read_bytes()
        (preset / name).unlink()
        with pytest.raises(StorageError, match=name):
            read(preset)
        (preset / name).write_bytes(content)


@pytest.mark.parametrize("content", ["{}", "[1, 2, 3]", '"cat"', "null", '["cat", null]'])
def test_labels_that_are_no_words_are_corrupt(preset, content):
    (preset / "labels.json").write_text(content)
    with pytest.raises(CorruptFileError, match=r"labels\.json: expected a list of class names"):
        load_class_names(preset)


def test_labels_that_are_not_json_are_corrupt(preset):
    (preset / "labels.json").write_text("cat, dog")
    with pytest.raises(CorruptFileError, match=r"labels\.json: not JSON"):
        load_class_names(preset)


def test_a_truncated_weights_file_is_corrupt(preset):
    path = preset / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CorruptFileError, match=r"model\.safetensors"):
        from_preset(preset)


def test_a_flipped_byte_in_the_weights_is_corrupt(preset):
    path = preset / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(CorruptFileError, match=r"model\.safetensors: has sha256 .*, and config\.json says"):
        from_preset(preset)
    rewrite_config(preset, sha256=None)
    assert from_preset(preset).output_shape == (None, 3)


def test_a31_weights_that_change_while_they_are_read_are_corrupt(preset, monkeypatch):
    def change_meanwhile(model, path, **keywords):
        weights = path / "model.safetensors"
        content = bytearray(weights.read_bytes())
        content[-5] ^= 1
        weights.write_bytes(content)
        return load(model, path, **keywords)

    monkeypatch.setattr("vit_keras.zoo.preset_directory.load", change_meanwhile)
    with pytest.raises(CorruptFileError, match=r"model\.safetensors: has sha256"):
        from_preset(preset)


@pytest.mark.parametrize("value", [3, [], {"model.safetensors": 3}])
def test_a_hash_that_is_none_is_refused(preset, value):
    rewrite_config(preset, sha256=value)
    with pytest.raises(CorruptFileError, match=r"config\.json: sha256 is"):
        from_preset(preset)


def test_loading_leaves_the_directory_as_it_was(preset):
    before = {item: item.read_bytes() for item in preset.iterdir()}
    from_preset(preset, num_classes=4)
    load_class_names(preset)
    assert {item: item.read_bytes() for item in preset.iterdir()} == before


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "labels.json"])
def test_a_file_without_permission_is_a_storage_error(preset, monkeypatch, name):
    opened = Path.open

    def refused(path, *arguments, **keywords):
        if path.name == name:
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *arguments, **keywords)

    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(StorageError, match=name):
        (load_class_names if name == "labels.json" else from_preset)(preset)


def test_saving_works_where_the_package_is_not_installed(tiny_model, tmp_path, monkeypatch):
    """A bare checkout on the path has no version of its own."""

    def unknown(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata.Distribution, "from_name", unknown)
    assert save_preset(tiny_model, tmp_path / "mine").is_dir()


def test_a_header_is_checked_on_the_way(preset, monkeypatch):
    monkeypatch.setattr("vit_keras.weights.formats.safetensors.LARGEST_HEADER", 16)
    with pytest.raises(CorruptFileError, match="header"):
        from_preset(preset)
