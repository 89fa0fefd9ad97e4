"""Models of presets, of their published weights, and of directories."""

import importlib.util
import json
import shutil
import threading
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import oracle
import pytest
from backends import only_elsewhere
from contracts import JIT
from weights.checkpoints import assert_same_bits, fingerprint
from weights.download.server import Site

from vit_keras.errors import CorruptFileError, InvalidArgumentError, StorageError, WeightMismatchError
from vit_keras.models.vit import model_config, vit
from vit_keras.presets import load_preset
from vit_keras.presets.label_sets import label_names
from vit_keras.weights import write
from vit_keras.weights.loading import load
from vit_keras.weights.settings import read as settings_read
from vit_keras.zoo.from_preset import from_preset
from vit_keras.zoo.load_model import load_model, open_model
from vit_keras.zoo.preset_directory import load_class_names, load_preprocessing
from vit_keras.zoo.save_preset import save_preset

SMALL = "vit_pico_patch4_32"


def arrays(model):
    return {weight.path: keras.ops.convert_to_numpy(weight) for weight in model.weights}


SMALL_PRESETS = ("vit_pico_patch4_28", "vit_pico_conv4_28", "test_vit3")  # one of each kind


@pytest.mark.parametrize("name", only_elsewhere(SMALL_PRESETS, "vit_pico_conv4_28"))
def test_a_small_preset_runs_forward_and_backward(name):
    model = oracle.randomize(from_preset(name, num_classes=3))
    images = np.random.default_rng(0).integers(0, 256, (2, *model.input_shape[1:])).astype("uint8")
    before = arrays(model)
    model.compile(keras.optimizers.SGD(1e-2), "mse", jit_compile=JIT)
    model.train_on_batch(images, np.ones((2, 3), "float32"))
    for path, array in arrays(model).items():
        assert np.isfinite(array).all(), path
        assert "/moving_" in path or not np.array_equal(array, before[path]), path


def test_a_name_gives_the_presets_model_and_arguments_replace_its_fields():
    model = from_preset(SMALL)
    assert model_config(model) == load_preset(SMALL).config
    assert (model.name, model.output_shape) == (SMALL, (None, 96))
    model = from_preset(SMALL, num_classes=7, image_size=(16, 48), num_layers=1, pooling="map")
    assert model_config(model) == load_preset(SMALL).config.replace(image_size=(16, 48), num_layers=1, pooling="map")
    assert (model.input_shape, model.output_shape) == ((None, 16, 48, 3), (None, 7))


def test_a_saved_model_is_loaded_exactly_and_its_directory_left_unchanged(tiny_model, tiny_preset, rng):
    files = fingerprint(tiny_preset)
    loaded = from_preset(str(tiny_preset))
    assert model_config(loaded) == model_config(tiny_model)
    assert_same_bits(arrays(loaded), arrays(tiny_model))
    images = rng.integers(0, 256, (5, 16, 16, 3)).astype("uint8")
    np.testing.assert_array_equal(loaded.predict(images, verbose=0), tiny_model.predict(images, verbose=0))
    load_preprocessing(tiny_preset)
    assert fingerprint(tiny_preset) == files


def test_a17_a18_changes_are_logged_and_another_head_starts_at_zero(tiny_model, tiny_preset, caplog):
    saved, loaded = arrays(tiny_model), arrays(from_preset(tiny_preset, num_classes=5))
    assert loaded["head/kernel"].shape == (16, 5)
    for name in ("head/kernel", "head/bias"):
        assert not loaded.pop(name).any()
        del saved[name]
    assert_same_bits(loaded, saved)
    assert "3 classes and 16 features, the model's 5 and 16; the model's own is kept" in caplog.text
    caplog.clear()
    model = from_preset(tiny_preset, num_classes=3, image_size=32, stochastic_depth_rate=0.2)
    np.testing.assert_array_equal(arrays(model)["head/kernel"], arrays(tiny_model)["head/kernel"])
    assert model_config(model).stochastic_depth_rate == 0.2
    (message,) = caplog.messages
    assert message.startswith(f"{tiny_preset}: ")
    assert "positions resized from 2x2 to 4x4 patches" in message
    with pytest.raises(WeightMismatchError, match="missing"):
        from_preset(tiny_preset, num_layers=3)


def test_config_json_is_parsed_once(tiny_preset, monkeypatch):
    read, parse = [], settings_read.parse_json
    monkeypatch.setattr(settings_read, "parse_json", lambda text, path: read.append(path.name) or parse(text, path))
    from_preset(tiny_preset)
    assert read == ["config.json", "labels.json"]


def test_a17_weights_are_a_file_or_directory_that_fits_the_preset(tiny_config, tiny_model, tiny_preset, tmp_path):
    other = save_preset(vit(tiny_config, num_classes=5), tmp_path / "other")
    with pytest.raises(WeightMismatchError, match=r"head/kernel is \(16, 3\)"):
        from_preset(tiny_preset, weights=other)
    assert from_preset(tiny_preset, weights=other, num_classes=2).output_shape == (None, 2)
    for weights in (tiny_preset, str(tiny_preset / "model.safetensors")):
        loaded = arrays(from_preset(other, weights=weights, num_classes=3))
        np.testing.assert_array_equal(loaded["head/kernel"], arrays(tiny_model)["head/kernel"])
    message = "says hidden_dim=16, num_layers=2, mlp_dim=32, and the preset has 96, 4, 192"
    with pytest.raises(WeightMismatchError, match=message):
        from_preset(SMALL, weights=tiny_preset / "model.safetensors")


@pytest.fixture
def published(monkeypatch, tmp_path):
    """The arguments of `fetch`, which returns a checkpoint of `test_vit` with timm's names."""
    config = load_preset("test_vit").config
    weights = arrays(vit(config, num_classes=1000)) | {"head/bias": np.arange(1000, dtype="float32")}
    folder = write(weights, config, tmp_path / "published", to="timm")
    calls = []

    def fetch(url, *, progress, **arguments):
        progress(1, 2)
        calls.append({"url": url, **arguments})
        return folder / "model.safetensors"

    monkeypatch.setattr("vit_keras.zoo.from_preset.fetch", fetch)
    return calls


@pytest.fixture
def unfilled(monkeypatch):
    """Leaves models without weights."""
    monkeypatch.setattr("vit_keras.zoo.from_preset.load", lambda *arguments, **keywords: SimpleNamespace(notes=()))


@pytest.mark.parametrize(
    "arguments",
    [
        {"preset": "test_vit", "weights": "r160_in1k", "offline": True},
        {"preset": "test_vit:r160_in1k", "num_classes": 1000},
    ],
)
def test_a_tag_gives_the_published_weights_with_their_head(published, arguments, tmp_path):
    model = from_preset(**arguments)
    assert model.output_shape == (None, 1000)
    np.testing.assert_array_equal(arrays(model)["head/bias"], np.arange(1000))
    (call,) = published
    assert call["url"] == "hf://timm/test_vit.r160_in1k/model.safetensors"
    assert 4 * model.count_params() < call["max_bytes"] < 100e6
    assert call["offline"] == arguments.get("offline")
    assert from_preset("test_vit", weights=tmp_path / "published").output_shape == (None, 1000)


def test_the_head_of_published_weights_has_the_names_of_its_label_set(published, tmp_path):
    model = from_preset("timm/test_vit.r160_in1k")
    assert model.class_names == label_names("imagenet-1k")
    assert from_preset("test_vit", weights="r160_in1k", num_classes=7).class_names is None
    assert from_preset("test_vit", weights="r160_in1k", num_classes=0).class_names is None
    path = save_preset(model, tmp_path / "mine")
    assert load_class_names(path) == load_model(path).class_names == label_names("imagenet-1k")
    assert "1,000 classes: tench, Tinca tinca; goldfish, Carassius auratus" in (path / "README.md").read_text("utf-8")
    assert open_model("test_vit:r160_in1k").class_names == label_names("imagenet-1k")


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """Hugging Face on this machine, with the weights of `vit_tiny_patch16_224` that it names otherwise."""
    preset, tag = "vit_tiny_patch16_224", "augreg_in21k_ft_in1k"
    config = load_preset(preset).config
    weights = arrays(vit(config, num_classes=1000)) | {"head/bias": np.arange(1000, dtype="float32")}
    content = (write(weights, config, tmp_path / "timm", to="timm") / "model.safetensors").read_bytes()
    with Site() as site:
        site.put(f"/timm/{preset}.{tag}/resolve/main/model.safetensors", body=content)
        monkeypatch.setenv("VIT_KERAS_MIRROR", f"https://huggingface.co={site.root}")
        monkeypatch.setenv("VIT_KERAS_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)  # without huggingface_hub
        thread = threading.Thread(target=site.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield site
        site.shutdown()
        thread.join()


def test_a_published_model_is_downloaded_under_the_name_it_has_on_hugging_face(hub):
    model = from_preset("WinKawaks/vit-tiny-patch16-224")
    np.testing.assert_array_equal(arrays(model)["head/bias"], np.arange(1000))
    assert model_config(model).norm_epsilon == 1e-12  # of its config.json
    assert model.class_names[281] == "tabby, tabby cat"
    assert [path for path, _ in hub.asked] == [
        "/timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k/resolve/main/model.safetensors"
    ]
    by_timm = from_preset("hf_hub:timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k", offline=True)
    assert_same_bits(arrays(by_timm), arrays(model))
    assert model_config(by_timm).norm_epsilon == 1e-6


@pytest.mark.usefixtures("unfilled")
def test_which_part_of_a_published_model_is_taken_is_logged(published, caplog):
    model = from_preset("openai/clip-vit-base-patch32", num_layers=1)
    assert published[0]["url"] == "hf://timm/vit_base_patch32_clip_224.openai/model.safetensors"
    assert model_config(model).activation == "quick_gelu"
    assert (
        ":openai: of the published model, this is the image tower with its projection, without the text tower"
        in caplog.text
    )


def test_published_weights_fit_another_head_image_size_patch_size_channels_and_depth(published):
    assert from_preset("test_vit", weights="r160_in1k", num_classes=0).output_shape == (None, 64)
    changes = {"image_size": (64, 96), "patch_size": 8, "channels": 4, "num_layers": 2}
    model = from_preset("test_vit", weights="r160_in1k", num_classes=3, **changes)
    assert (model.input_shape, model.output_shape) == ((None, 64, 96, 4), (None, 3))
    assert model_config(model).num_layers == 2
    assert not arrays(model)["head/bias"].any()


@pytest.mark.usefixtures("published", "unfilled")
def test_a_checkpoints_own_fields_are_in_the_config():
    model = from_preset("vit_base_patch16_224", weights="dino", num_layers=1)
    assert model_config(model).pixel_std == (0.229, 0.224, 0.225)
    assert model_config(model).position_resize == "bicubic_offset"
    assert model.output_shape == (None, 768)


@pytest.mark.usefixtures("unfilled")
def test_a_restricted_license_must_be_accepted(published):
    with pytest.raises(InvalidArgumentError, match=r"under the CC-BY-NC-4\.0, .* pass accept_license=True"):
        from_preset("vit_base_patch16_224", weights="mae", num_layers=1)
    assert not published
    assert from_preset("vit_base_patch16_224", weights="mae", num_layers=1, accept_license=True)
    assert published


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"preset": SMALL, "weights": "imagenet"}, InvalidArgumentError, r"no weights 'imagenet'.*tags are none.*weights=None"),
        ({"preset": "test_vit:r160_in1k", "weights": "x"}, InvalidArgumentError, "names weights already"),
        ({"preset": SMALL, "weights": Path("nowhere.safetensors")}, StorageError, "nowhere"),
        ({"preset": SMALL, "weights": Path("nowhere")}, StorageError, "nowhere"),
        ({"preset": Path(__file__)}, StorageError, r"test_from_preset\.py is a file"),
        ({"preset": SMALL, "num_classes": -1}, InvalidArgumentError, "num_classes"),
        ({"preset": SMALL, "num_classes": 2.5}, InvalidArgumentError, "num_classes"),
        ({"preset": SMALL, "image_size": "big"}, InvalidArgumentError, "image_size"),
        ({"preset": SMALL, "hiden_dim": 8}, InvalidArgumentError, "hiden_dim"),
        ({"preset": SMALL, "hidden_dim": 0, "stem": "convv"}, InvalidArgumentError, r"stem='convv'.*hidden_dim=0"),
    ],
)  # fmt: skip
def test_illegal_arguments_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        from_preset(**arguments)


def damage(preset):
    path = preset / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


def test_weights_that_are_damaged_even_while_they_are_read_are_corrupt(tiny_preset, tmp_path, monkeypatch):
    preset = Path(shutil.copytree(tiny_preset, tmp_path / "mine"))
    with monkeypatch.context() as patch:  # a31
        target = "vit_keras.zoo.from_preset.load"
        patch.setattr(target, lambda model, path, **keywords: damage(path) or load(model, path, **keywords))
        with pytest.raises(CorruptFileError, match=r"model\.safetensors: has sha256"):
            from_preset(preset)
    with pytest.raises(CorruptFileError, match=r"has sha256 .*, and config.json says"):
        from_preset(preset)
    config = json.loads((preset / "config.json").read_text())
    (preset / "config.json").write_text(json.dumps({**config, "sha256": None}))
    assert from_preset(preset).output_shape == (None, 3)
    path = preset / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CorruptFileError, match=r"model\.safetensors"):
        from_preset(preset)
