"""Models of packed images are written as transformers' and timm's directories, read by those, and read again."""

import json

import keras
import numpy as np
import oracle
import pytest

import vit_keras as vk
from vit_keras.data.images.preprocess import default_preprocessing
from vit_keras.errors import InvalidArgumentError, WeightMismatchError
from vit_keras.weights.peers import compute_reference
from vit_keras.weights.verify import compare
from vit_keras.zoo.load_model import open_model

SIGLIP = vk.ViTConfig(
    image_size=16, patch_size=4, hidden_dim=24, num_layers=2, num_heads=2, mlp_dim=40, class_token=False, pooling="map",
    activation="gelu_tanh", position_resize="bilinear_antialias", max_num_patches=12,
    pixel_mean=(0.5,) * 3, pixel_std=(0.5,) * 3,
)  # fmt: skip
TIMM = {
    "siglip": SIGLIP,
    "gap": SIGLIP.replace(
        pooling="mean", final_norm="after", num_registers=2, layer_scale=0.1, activation="gelu", position_on_prefix=False,
        position_resize="bicubic_antialias", max_num_patches=15,
    ),
    "map": SIGLIP.replace(num_registers=1, map_includes_prefix=False, position_on_prefix=False, position_resize="bilinear_corners"),
    "radio": SIGLIP.replace(
        pooling="token", class_token=True, num_registers=2, position_on_prefix=False, final_norm="none", activation="gelu",
        position_resize="bilinear_corners_crop",
    ),
}  # fmt: skip


def weights_of(model):
    return {weight.path: keras.ops.convert_to_numpy(weight) for weight in model.weights}


def written(folder, config, *, to, num_classes=None):
    model = oracle.randomize(vk.vit(config, num_classes=num_classes))
    preprocessing = default_preprocessing(config).replace(interpolation="bilinear")
    return model, vk.weights.write(weights_of(model), config, folder / to, to=to, preprocessing=preprocessing)


def assert_read_again(model, folder, config):
    opened = open_model(folder)
    found = vk.model_config(opened.model)
    assert found.replace(position_on_prefix=config.position_on_prefix) == config
    assert found.position_on_prefix == config.position_on_prefix or not config.num_prefix_tokens
    assert opened.preprocessing == default_preprocessing(config).replace(interpolation="bilinear")
    for name, array in weights_of(opened.model).items():
        np.testing.assert_array_equal(array, weights_of(model)[name])


def test_transformers_reads_the_directory_and_gives_our_outputs(tmp_path):
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("torch")
    model, folder = written(tmp_path, SIGLIP, to="huggingface")
    _, report = transformers.Siglip2VisionModel.from_pretrained(folder, output_loading_info=True)
    assert not any(report.values())
    assert all(difference.within for difference in compare(model, compute_reference(folder, SIGLIP)))
    processor = json.loads((folder / "preprocessor_config.json").read_text())
    assert (processor["image_processor_type"], processor["max_num_patches"]) == ("Siglip2ImageProcessor", 12)
    assert_read_again(model, folder, SIGLIP)


@pytest.mark.parametrize("name", TIMM)
def test_timm_reads_the_directory_and_gives_our_outputs(tmp_path, name):
    config = TIMM[name]
    model, folder = written(tmp_path, config, to="timm", num_classes=3)
    assert_read_again(model, folder, config)
    pytest.importorskip("timm")
    assert all(difference.within for difference in compare(model, compute_reference(folder, config)))


def test_the_full_models_config_of_transformers_is_read(tmp_path):
    vision = {
        "model_type": "siglip2_vision_model", "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 40, "patch_size": 4, "num_patches": 16,
    }  # fmt: skip
    _, folder = written(tmp_path, SIGLIP, to="huggingface")
    (folder / "config.json").write_text(json.dumps({"model_type": "siglip2", "vision_config": vision}))
    assert vk.model_config(vk.from_preset(folder)) == SIGLIP
    (folder / "preprocessor_config.json").unlink()
    assert vk.model_config(vk.from_preset(folder)).max_num_patches == 16


def test_what_the_libraries_do_not_have_is_refused(tmp_path):
    with pytest.raises(InvalidArgumentError, match="position_resize='bicubic' is none of"):
        written(tmp_path, SIGLIP.replace(position_resize="bicubic"), to="huggingface")
    with pytest.raises(InvalidArgumentError, match="position_on_prefix=True is none of"):
        written(tmp_path, TIMM["gap"].replace(position_on_prefix=True), to="timm")


def test_factorized_positions_are_refused(tmp_path):
    model, folder = written(tmp_path, TIMM["gap"], to="timm", num_classes=3)
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**content, "architecture": "naflexvit_base_patch16_parfac_gap"}))
    with pytest.raises(InvalidArgumentError, match="naflexvit_base_patch16_parfac_gap' is no preset"):
        vk.from_preset(folder)
    tensors = {f"embeds.pos_embed_{axis}": np.zeros((1, 4, 24), "float32") for axis in "yx"}
    names = {"embeds.proj.weight": (24, 48), "blocks.0.norm1.weight": (24,)}
    factorized = tensors | {name: np.zeros(shape, "float32") for name, shape in names.items()}
    vk.weights.write_tensors(factorized, tmp_path / "factorized.safetensors")
    with pytest.raises(WeightMismatchError, match="rows and columns have positions of their own"):
        vk.weights.load(model, tmp_path / "factorized.safetensors")
