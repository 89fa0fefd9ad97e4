"""Architectures with the same tensors and another computation are told apart: refused, right, or loaded with a named assumption.

Of each pair the table says what differs. The right values are timm's (`lookalikes.csv`) and transformers' own.
"""

import csv
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from faults.directories import images, outputs_of, write_transformers
from safetensors.numpy import load_file, save_file
from weights.checkpoints import random_weights

import vit_keras as vk
from vit_keras.config import ViTConfig
from vit_keras.errors import InvalidArgumentError, VitKerasError, WeightMismatchError
from vit_keras.weights import load
from vit_keras.weights.mappings.libraries.huggingface import HF_VIT
from vit_keras.weights.mappings.libraries.meta import META_PLAIN, OPENAI_CLIP
from vit_keras.weights.mappings.libraries.timm import TIMM
from vit_keras.weights.mappings.libraries.torchvision import TORCHVISION
from vit_keras.weights.mappings.tables import Table
from vit_keras.weights.settings.timm import timm_settings
from vit_keras.weights.writing import translate

GOLDEN = Path(__file__).parents[1] / "golden" / "timm" / "lookalikes.csv"
SMALL = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2}
PIXELS = {"mean": [0.5] * 3, "std": [0.5] * 3}
# Fields that don't change what given weights compute for given images, at the size of the positions.
IDLE = {
    "pixel_mean", "pixel_std", "position_resize", "patch_resize", "dropout_rate", "attention_dropout_rate", "stochastic_depth_rate",
    "remat", "dynamic_image_size",
}  # fmt: skip


def read_timm(name: str) -> ViTConfig | None:
    """Returns the small model of one of timm's architectures, as its config.json says; None where it is refused."""
    try:
        stated = timm_settings(
            {"architecture": name, "model_args": SMALL, "pretrained_cfg": PIXELS}, Path("config.json")
        )
    except InvalidArgumentError:
        return None
    return ViTConfig(**stated["stated"])


def computation_of(config: ViTConfig) -> tuple[object, ...]:
    """Returns the fields that change a model's outputs."""
    fields = {name: value for name, value in config.to_dict().items() if name not in IDLE}
    fields["layer_scale"] = config.layer_scale is not None
    if config.pooling == "token" and config.final_norm != "none":
        fields["final_norm"] = "before"  # normalizing one token is the same before and after it is picked
    return tuple(str(value) for _, value in sorted(fields.items()))


@pytest.fixture(scope="module")
def architectures():
    """What timm's architectures compute: name -> (tensors, computation, heads)."""
    with GOLDEN.open() as file:
        return {row["name"]: (row["tensors"], row["computation"], row["num_heads"]) for row in csv.DictReader(file)}


def test_timms_architectures_with_the_same_tensors_and_other_outputs_never_give_the_same_model(architectures):
    found = defaultdict(lambda: defaultdict(set))
    for name, (tensors, computation, _) in architectures.items():
        config = read_timm(name)
        if config is not None:
            found[tensors][computation_of(config)].add(computation)
    mixed = {
        tensors: configs for tensors, configs in found.items() if any(len(group) > 1 for group in configs.values())
    }
    assert not mixed
    assert sum(len(configs) > 1 for configs in found.values()) > 3  # the table has such groups


def test_timms_architectures_are_presets_or_refused(architectures):
    refused = {name for name in architectures if read_timm(name) is None}
    assert not refused & set(vk.list_presets())
    for name, (*_, heads) in architectures.items():
        if name not in refused:
            assert vk.load_preset(name).config.num_heads == int(heads), name


# transformers' classes with tensors like those that are read: class, config, changes of it, and what becomes of the directory: the
# output that ours equals, or words of the error.
RIGHT, REFUSED = "right", "refused"
TRANSFORMERS = {
    # Activation: CLIP's is quick GELU, that of models trained by OpenCLIP exact GELU, SigLIP's the tanh approximation.
    "CLIP, exact GELU": ("CLIPVisionModel", "CLIPVisionConfig", {"hidden_act": "gelu"}, RIGHT, "pooler_output"),
    "CLIP, quick GELU": ("CLIPVisionModel", "CLIPVisionConfig", {"hidden_act": "quick_gelu"}, RIGHT, "pooler_output"),
    "SigLIP, exact GELU": ("SiglipVisionModel", "SiglipVisionConfig", {"hidden_act": "gelu"}, RIGHT, "pooler_output"),
    "SigLIP, tanh": ("SiglipVisionModel", "SiglipVisionConfig", {}, RIGHT, "pooler_output"),
    # Epsilon: transformers' ViT has 1e-12, MSN 1e-6.
    "ViT, epsilon 1e-12": ("ViTModel", "ViTConfig", {}, RIGHT, "last_hidden_state"),
    "ViT, epsilon 0.1": ("ViTModel", "ViTConfig", {"layer_norm_eps": 0.1}, RIGHT, "last_hidden_state"),
    "MSN": ("ViTMSNModel", "ViTMSNConfig", {}, RIGHT, "last_hidden_state"),
    # Heads.
    "ViT, 4 heads": ("ViTModel", "ViTConfig", {"num_attention_heads": 4}, RIGHT, "last_hidden_state"),
    # What the head reads: the class token; the class token of DeiT beside a distillation token; the mean of patches.
    "DeiT": ("DeiTForImageClassification", "DeiTConfig", {}, RIGHT, "logits"),
    "I-JEPA": ("IJepaForImageClassification", "IJepaConfig", {}, RIGHT, "logits"),
    # Registers, and the size at which positions are kept.
    "DINOv2": ("Dinov2Model", "Dinov2Config", {}, RIGHT, "pooler_output"),
    "DINOv2 with registers": ("Dinov2WithRegistersModel", "Dinov2WithRegistersConfig", {}, RIGHT, "pooler_output"),
    # CLIP's tensors, and rotary embeddings.
    "MLCD": ("MLCDVisionModel", "MLCDVisionConfig", {}, REFUSED, "mlcd_vision_model"),
    # ViT's tensors, and patches that overlap at the border, or of videos; detection tokens.
    "ViTPose": ("VitPoseBackbone", "VitPoseBackboneConfig", {"image_size": [32, 32], "patch_size": [8, 8]}, REFUSED, "vitpose_backbone"),
    "ViViT": ("VivitModel", "VivitConfig", {"tubelet_size": [2, 8, 8], "num_frames": 4}, REFUSED, "vivit"),
    "YOLOS": ("YolosModel", "YolosConfig", {"image_size": [32, 32]}, REFUSED, "yolos"),
}  # fmt: skip


@pytest.mark.parametrize("name", TRANSFORMERS)
@pytest.mark.filterwarnings("ignore")
def test_a_directory_of_transformers_is_right_or_refused(tmp_path, name):
    model, config, changes, verdict, expected = TRANSFORMERS[name]
    without = {"without": ("intermediate_size",)} if config.startswith("Dinov2") else {}
    theirs = write_transformers(tmp_path, model, config, **changes, **without)
    if verdict == REFUSED:
        with pytest.raises(VitKerasError, match=expected):
            vk.from_preset(tmp_path)
        return
    built = vk.from_preset(tmp_path)
    config = vk.model_config(built)
    output = outputs_of(theirs, images(), config.pixel_mean, config.pixel_std)[expected].numpy()
    if expected == "last_hidden_state":
        output = output[:, 0]
    np.testing.assert_allclose(built.predict(images(), verbose=0), output, rtol=1e-4, atol=1e-4)


SIZE = {"image_size": 32, "patch_size": 8, "hidden_dim": 24, "num_layers": 2, "num_heads": 2, "mlp_dim": 48}
PLAIN = ViTConfig(**SIZE)
CLIP = PLAIN.replace(stem_norm=True, patch_bias=False, norm_epsilon=1e-5)
EVA = PLAIN.replace(qkv_bias="query_value", rotary_embedding="axial", rotary_temperature=1e4, rotary_reference=16)
# A file alone: whose names, what is put in front of them, the model that it is loaded into, and what is said to be assumed.
ALONE = {
    "heads of MoCo v3": (META_PLAIN, "module.base_encoder.", PLAIN, "num_heads=2 (published ones have 12)"),
    "heads": (TIMM, "", PLAIN, "num_heads=2"),
    "epsilon of transformers or timm": (HF_VIT, "", PLAIN, "norm_epsilon=1e-06"),
    "epsilon of torchvision": (TORCHVISION, "", PLAIN.replace(norm_epsilon=1e-12), "norm_epsilon=1e-12 (published ones have 1e-06)"),
    "quick GELU of OpenAI, or GELU of OpenCLIP": (OPENAI_CLIP, "", CLIP, "activation='gelu'"),
    "quick GELU": (OPENAI_CLIP, "", CLIP.replace(activation="quick_gelu"), "activation='quick_gelu'"),
    "norm order": (TIMM, "", PLAIN, "block_norm='before'"),
    "pixel statistics": (TIMM, "", PLAIN, "pixel_mean=(0.5,), pixel_std=(0.5,)"),
    "pooling": (TIMM, "", PLAIN.replace(pooling="mean"), "pooling='mean'"),
    "rotary embedding": (TIMM, "", EVA, "rotary_embedding='axial', rotary_temperature=10000.0, rotary_order='yx'"),
}  # fmt: skip


def write_file(path: Path, table: Table, config: ViTConfig, prefix: str = "") -> Path:
    weights = random_weights(config, None)
    save_file({prefix + name: array for name, array in translate(weights, config, table).items()}, path)
    return path


@pytest.mark.parametrize("name", ALONE)
def test_what_a_file_alone_does_not_say_is_assumed_by_name(tmp_path, caplog, name):
    table, prefix, config, expected = ALONE[name]
    path = write_file(tmp_path / "x.safetensors", table, config, prefix)
    steps = load(vk.vit(config), path)
    assert expected in ", ".join(steps.assumptions)
    assert expected in steps.describe()
    assert f"{path}: assumed, because the checkpoint does not state it: " in caplog.text


def test_a_preset_takes_the_heads_of_moco_v3(tmp_path, caplog):
    config = PLAIN.replace(num_heads=6)
    path = write_file(tmp_path / "x.safetensors", META_PLAIN, config, "module.base_encoder.")
    model = vk.from_preset("vit_small_patch16_224", weights=path, **{k: v for k, v in SIZE.items() if k != "num_heads"})
    assert vk.model_config(model).num_heads == 12
    assert "num_heads=12" in caplog.text


def test_nothing_is_assumed_of_a_preset_directory(tmp_path, caplog):
    vk.save_preset(vk.vit(PLAIN), tmp_path / "own")
    assert load(vk.vit(PLAIN), tmp_path / "own").assumptions == ()
    vk.from_preset(tmp_path / "own")
    assert "assumed" not in caplog.text


# Names that only models with a certain field have: a file with them, and a model without that field.
CERTAIN = {
    "no rotary embedding in transformers' ViT": (HF_VIT, PLAIN, {"rotary_embedding": "axial"}, {}),
    "no rotary embedding in torchvision": (TORCHVISION, PLAIN, {"rotary_embedding": "axial"}, {}),
    "rotary embedding of EVA-02": (TIMM, EVA, {"rotary_embedding": "none", "rotary_temperature": 100.0, "rotary_reference": None}, {"rope.freqs_cos": (4,)}),
    "rotary embedding of DINOv3": (TIMM, EVA, {}, {"rope_embed.periods": (4,), "mask_token": (1, 24)}),
}  # fmt: skip


@pytest.mark.parametrize("name", CERTAIN)
def test_names_that_only_another_model_has_are_refused(tmp_path, name):
    table, config, changes, more = CERTAIN[name]
    path = write_file(tmp_path / "x.safetensors", table, config)
    save_file({**load_file(path), **{key: np.zeros(shape, "float32") for key, shape in more.items()}}, path)
    with pytest.raises(WeightMismatchError, match="the file is of a model with rotary_embedding="):
        load(vk.vit(config.replace(**changes)), path)
