"""Config files beside the weights are read; expected values are transformers' logits and the content of its files."""

import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
from faults.directories import IMAGENET, OURS, images, outputs_of, write_processor, write_transformers
from safetensors.numpy import save_file
from weights.checkpoints import random_weights

import vit_keras as vk
from vit_keras.errors import CorruptFileError, InvalidArgumentError, WeightMismatchError
from vit_keras.presets.label_sets import label_names, label_synsets
from vit_keras.weights import load
from vit_keras.weights.mappings.libraries.meta import META
from vit_keras.weights.mappings.libraries.timm import TIMM
from vit_keras.weights.settings.read import read_settings
from vit_keras.weights.writing import translate

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytestmark = [
    pytest.mark.any_backend,
    pytest.mark.filterwarnings("ignore:.*:DeprecationWarning", "ignore:.*torchvision.*"),
]

NAMES = {0: "tabby", 1: "beagle", 2: "wren"}
PRESET = {name: value for name, value in OURS.items() if name not in ("image_size", "num_heads")}
"""The sizes of the small directories, without what only a config.json says."""


def predict(model, pixels):
    return keras.ops.convert_to_numpy(model(pixels.astype("float32")))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A fine-tuned directory whose settings all differ from the preset's, and its logits."""
    directory = tmp_path_factory.mktemp("pets")
    theirs = write_transformers(
        directory, "ViTForImageClassification", "ViTConfig", num_attention_heads=6, hidden_act="quick_gelu",
        layer_norm_eps=1e-3, id2label=NAMES, label2id={name: index for index, name in NAMES.items()},
    )  # fmt: skip
    write_processor(directory)
    return directory, outputs_of(theirs, images(), *IMAGENET)["logits"].numpy()


@pytest.fixture
def fine_tuned(written, tmp_path):
    """That directory, for a test to change."""
    return Path(shutil.copytree(written[0], tmp_path / "pets")), written[1]


def change_config(directory, **changes):
    path = directory / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_directory_of_transformers_builds_the_model_that_it_describes(fine_tuned):
    directory, expected = fine_tuned
    model = vk.from_preset(directory)
    np.testing.assert_allclose(predict(model, images()), expected, rtol=1e-4, atol=2e-5)
    assert vk.load_class_names(directory) == tuple(NAMES.values())
    preprocessing = vk.load_preprocessing(directory)
    found = (preprocessing.image_size, preprocessing.crop_mode, preprocessing.interpolation)
    assert found == ((32, 32), "squash", "bilinear")


def test_the_names_of_very_many_classes_are_read(tmp_path):
    names = {index: f"class number {index}, of {'many' * 8}" for index in range(21_841)}
    labels = {"id2label": names, "label2id": {name: index for index, name in names.items()}}
    write_transformers(tmp_path, "ViTForImageClassification", "ViTConfig", **labels)
    assert (tmp_path / "config.json").stat().st_size > 2**21
    assert vk.load_class_names(tmp_path)[-1] == names[21_840]


def test_a_preset_with_such_weights_takes_their_settings_with_a_warning(fine_tuned, caplog):
    directory, expected = fine_tuned
    for weights in (directory, directory / "model.safetensors"):
        model = vk.from_preset("vit_tiny_patch16_224", weights=weights, **PRESET)
        assert model.input_shape == (None, 32, 32, 3)
        np.testing.assert_allclose(predict(model, images()), expected, rtol=1e-4, atol=2e-5)
    for setting in ("num_heads=6", "activation='quick_gelu'", "norm_epsilon=0.001", "image_size=(32, 32)"):
        assert setting in caplog.text


def test_an_argument_overrides_the_file_with_a_warning_but_no_number_of_heads(fine_tuned, caplog):
    directory, _ = fine_tuned
    model = vk.from_preset("vit_tiny_patch16_224", weights=directory, norm_epsilon=1e-6, **PRESET)
    assert vk.model_config(model).norm_epsilon == 1e-6
    assert "the model has norm_epsilon=1e-06, and" in caplog.text
    assert "config.json says 0.001" in caplog.text
    with pytest.raises(WeightMismatchError, match="says num_heads=6, and the model has num_heads=2"):
        load(vk.vit(vk.ViTConfig(**OURS), num_classes=3), directory)


def test_assumptions_are_logged_and_metas_files_get_metas_pixel_statistics(tmp_path, caplog):
    config, path = vk.ViTConfig(**OURS), tmp_path / "bare.safetensors"
    arguments = {"weights": path, "image_size": 32, "num_heads": 2, **PRESET}
    save_file(translate(random_weights(config, 5), config, TIMM), path)
    vk.from_preset("vit_tiny_patch16_224", **arguments)
    assert "assumed, because the checkpoint does not state it: num_heads=2, activation='gelu'" in caplog.text
    assert "pixel_mean=(0.5,), pixel_std=(0.5,), pooling='token'" in caplog.text

    tensors = translate(random_weights(config, None), config, META)
    save_file({**tensors, "mask_token": np.zeros((1, 1, 24), "float32")}, path)
    found = vk.model_config(vk.from_preset("vit_tiny_patch16_224", **arguments))
    assert (found.pixel_mean, found.pixel_std) == IMAGENET


@pytest.mark.parametrize(
    ("processor", "mean", "std"),
    [
        ({"do_normalize": False}, 0.0, 1.0),
        ({"do_rescale": False, "image_mean": [127.5] * 3, "image_std": [51.0] * 3}, 0.5, 0.2),
        ({"rescale_factor": 1 / 127.5, "image_mean": [1.0] * 3, "image_std": [1.0] * 3}, 0.5, 0.5),
    ],
)
def test_pixels_are_scaled_as_the_processor_scales_them(fine_tuned, processor, mean, std):
    directory, _ = fine_tuned
    write_processor(directory, **processor)
    config = vk.model_config(vk.from_preset(directory))
    np.testing.assert_allclose([np.mean(config.pixel_mean), np.mean(config.pixel_std)], [mean, std], rtol=1e-6)


@pytest.mark.parametrize(
    ("processor", "crop_mode", "resized"),
    [
        ({"size": {"shortest_edge": 37}, "crop_size": {"height": 32, "width": 32}, "do_center_crop": True}, "center", (49, 37)),
        ({"size": 37, "crop_size": 32, "image_processor_type": "CLIPImageProcessor"}, "center", (49, 37)),
        ({"size": {"height": 37, "width": 37}, "crop_size": {"height": 32, "width": 32}, "do_center_crop": True}, "squash", (37, 37)),
        ({"size": {"height": 32, "width": 32}}, "squash", (32, 32)),
    ],
)  # fmt: skip
def test_images_are_resized_as_the_processor_resizes_them(fine_tuned, processor, crop_mode, resized):
    directory, _ = fine_tuned
    write_processor(directory, **processor)
    preprocessing = vk.load_preprocessing(directory)
    assert (preprocessing.crop_mode, preprocessing.resized_size((400, 300))) == (crop_mode, resized)


def test_a_directory_of_an_unsupported_model_or_with_a_config_of_another_is_refused(fine_tuned):
    directory, _ = fine_tuned
    for change, message in (
        ({"model_type": "swin"}, "model_type"),
        ({"hidden_act": "relu", "model_type": "vit"}, "activation"),
    ):
        change_config(directory, **change)
        with pytest.raises(InvalidArgumentError, match=f"{message}=.* is none of"):
            vk.from_preset(directory)
    config = vk.ViTConfig(**OURS)
    change_config(directory, hidden_act="gelu")
    save_file(translate(random_weights(config, 3), config, TIMM), directory / "model.safetensors")
    with pytest.raises(WeightMismatchError, match="one of them is of another model"):
        read_settings(directory)
    (directory / "config.json").write_text(json.dumps({"model_type": "vit", "note": "x" * 2**22}))
    message = r"config\.json: \d+ bytes are too many for this file; the limit is 4194304"
    for read in (vk.from_preset, vk.load_class_names, read_settings):
        with pytest.raises(CorruptFileError, match=message):
            read(directory)


TIMM_CONFIG = {
    "architecture": "vit_tiny_patch16_224", "num_classes": 5, "global_pool": "avg", "label_names": ["a", "b", "c", "d", "e"],
    "model_args": {
        "img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2, "mlp_ratio": 2.0, "global_pool": "avg",
    },
    "pretrained_cfg": {
        "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "input_size": [3, 32, 32], "crop_pct": 0.9, "crop_mode": "center",
        "interpolation": "bilinear",
    },
}  # fmt: skip


def test_a_directory_of_timm_builds_the_model_that_it_describes(tmp_path):
    config = vk.ViTConfig(
        **OURS, pooling="mean", final_norm="after", pixel_mean=(0.1, 0.2, 0.3), pixel_std=(0.4, 0.5, 0.6)
    )
    weights = random_weights(config, 5)
    save_file(translate(weights, config, TIMM), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(TIMM_CONFIG))
    model = vk.from_preset(tmp_path)
    assert vk.model_config(model).replace(position_resize=config.position_resize) == config
    assert vk.load_class_names(tmp_path) == ("a", "b", "c", "d", "e")
    preprocessing = vk.load_preprocessing(tmp_path)
    assert (preprocessing.crop, preprocessing.crop_mode, preprocessing.interpolation) == (0.9, "center", "bilinear")


def test_a_directory_of_timm_with_norms_after_the_branches_is_not_loaded_as_a_plain_model(tmp_path):
    """Both kinds have tensors of the same names and shapes."""
    plain = vk.ViTConfig(
        **OURS, class_token=False, qkv_bias="none", pooling="mean", final_norm="after", pixel_mean=(0.1, 0.2, 0.3),
        pixel_std=(0.4, 0.5, 0.6),
    )  # fmt: skip
    theirs = translate(random_weights(plain, 5), plain, TIMM)
    assert theirs.keys() == translate(random_weights(plain, 5), plain.replace(block_norm="after"), TIMM).keys()
    save_file(theirs, tmp_path / "model.safetensors")
    written = {**TIMM_CONFIG, "architecture": "vit_base_patch16_rpn_224"}
    (tmp_path / "config.json").write_text(json.dumps(written))
    assert vk.model_config(vk.from_preset(tmp_path)).block_norm == "after"
    with pytest.raises(WeightMismatchError, match="says block_norm='after', and the model has block_norm='before'"):
        load(vk.vit(plain, num_classes=5), tmp_path)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"pretrained_cfg": {"tag": "augreg_in21k_ft_in1k"}}, label_names("imagenet-1k")),
        ({"label_names": list(label_synsets("imagenet-1k"))}, label_names("imagenet-1k")),
        ({"pretrained_cfg": {"tag": "augreg_in21k"}}, None),  # a new head of as many classes
        ({"pretrained_cfg": {}}, label_names("imagenet-1k")),
        ({"label_names": [f"breed {index}" for index in range(1000)], "pretrained_cfg": {"tag": "in1k"}}, tuple(f"breed {index}" for index in range(1000))),
    ],
    ids=["tag", "ids", "other", "none", "own"],
)  # fmt: skip
def test_a_directory_of_timm_without_names_has_those_of_its_label_set(tmp_path, changes, expected, caplog):
    config = vk.ViTConfig(**OURS, pooling="mean", final_norm="after")
    save_file(translate(random_weights(config, 1000), config, TIMM), tmp_path / "model.safetensors")
    theirs = {**TIMM_CONFIG, "num_classes": 1000, **changes}
    del theirs["pretrained_cfg"]
    theirs |= {"pretrained_cfg": {**TIMM_CONFIG["pretrained_cfg"], **changes.get("pretrained_cfg", {})}}
    if "label_names" not in changes:
        theirs.pop("label_names", None)
    (tmp_path / "config.json").write_text(json.dumps(theirs))
    assert vk.from_preset(tmp_path).class_names == vk.load_model(tmp_path).class_names == expected
    is_assumed = expected is not None and "label_names" not in changes
    assert ("assumed, because the checkpoint does not state it: label_set='imagenet-1k'" in caplog.text) == is_assumed
    assert vk.load_class_names(tmp_path) == (expected or tuple(map(str, range(1000))))
    assert vk.checkpoint_info(tmp_path)["class_names"] == (list(expected) if expected else None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architecture": "swin_tiny_patch4_window7_224"}, "is no preset of vit_keras"),
        ({"model_args": {"norm_layer": "rmsnorm"}}, r"model_args has norm_layer"),
        ({"model_args": {"global_pool": "avgmax"}}, "global_pool='avgmax' is none of"),
    ],
)
def test_unsupported_settings_of_a_timm_directory_are_refused(tmp_path, change, message):
    config = vk.ViTConfig(**OURS)
    save_file(translate(random_weights(config, 5), config, TIMM), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({**TIMM_CONFIG, **change}))
    with pytest.raises(InvalidArgumentError, match=message):
        vk.from_preset(tmp_path)


def test_a_preset_directory_as_weights_of_a_preset_gives_the_same_outputs(tmp_path):
    config = vk.ViTConfig(
        **{**OURS, "num_heads": 6}, activation="quick_gelu", norm_epsilon=1e-3, pixel_mean=(0.2,), rotary_embedding="axial",
        rotary_temperature=50.0, rotary_order="xy",
    )  # fmt: skip
    model = vk.vit(config, num_classes=5)
    weights = random_weights(config, 5)
    for weight in model.weights:
        weight.assign(weights[weight.path])
    vk.save_preset(model, tmp_path / "own")
    loaded = vk.from_preset("vit_tiny_patch16_224", weights=tmp_path / "own", **PRESET)
    np.testing.assert_array_equal(predict(loaded, images()), predict(model, images()))
    with pytest.raises(WeightMismatchError, match=r"says rotary_temperature=50\.0, rotary_order='xy'"):
        load(vk.vit(config.replace(rotary_temperature=100.0, rotary_order="yx"), num_classes=5), tmp_path / "own")


@pytest.mark.slow
def test_verify_compares_a_directory_with_transformers(fine_tuned, run):
    directory, _ = fine_tuned
    code, out, _ = run("verify", str(directory))
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == ["block", "block", "logits"]
    assert "DIFFERS" not in out
    change_config(directory, architectures=["ViTModel"])
    assert run("verify", str(directory))[0] != 0


def test_convert_keeps_the_settings_of_a_directory_of_transformers(fine_tuned, run, tmp_path):
    directory, expected = fine_tuned
    assert run("convert", str(directory), str(tmp_path / "mine"))[0] == 0
    assert vk.load_class_names(tmp_path / "mine") == tuple(NAMES.values())
    assert vk.load_preprocessing(tmp_path / "mine") == vk.load_preprocessing(directory)
    np.testing.assert_allclose(predict(vk.from_preset(tmp_path / "mine"), images()), expected, rtol=1e-4, atol=2e-5)
