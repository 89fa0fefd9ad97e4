"""Models written for timm and Hugging Face: complete or not at all, and refused where the library has no such model."""

import json
import shutil

import numpy as np
import pytest
from safetensors import safe_open
from weights.checkpoints import CONFIGS, fingerprint, random_weights

from vit_keras.errors import InvalidArgumentError, StorageError
from vit_keras.weights import write
from vit_keras.weights.writers.huggingface_config import huggingface_model
from vit_keras.weights.writers.timm_config import timm_config

SMALL = CONFIGS["vit_patch8"]
NAMES = [f"class {index}" for index in range(7)]
ARCHITECTURES = {
    "aimv2": "aimv2_large_patch14_224",
    "beit": "beit_base_patch16_224",
    "beit_shared": "beit_base_patch16_224",
    "clip": "vit_base_patch16_clip_224",
    "clip_quickgelu": "vit_base_patch16_clip_224",
    "deit_distilled": "deit_base_distilled_patch16_224",
    "differential": "vit_dlittle_patch16_reg1_gap_256",
    "dpwee_parallel": "vit_dpwee_patch16_reg1_gap_256",
    "dinov2_swiglu": "vit_giant_patch14_dinov2",
    "dinov3": "vit_base_patch16_dinov3",
    "dinov3_gated": "vit_base_patch16_dinov3",
    "eva_enormous_clip": "eva02_enormous_patch14_clip_224",
    "eva_giant": "eva02_base_patch14_224",
    "eva_giant_clip": "eva02_base_patch14_224",
    "eva02": "eva02_base_patch14_224",
    "eva02_inner_norm": "eva02_base_patch14_224",
    "eva02_clip": "eva02_base_patch14_224",
    "beit3": "beit3_base_patch16_224",
    "lingbot": "vit_base_patch16_dinov3",
    "lingbot_swiglu": "vit_base_patch16_dinov3",
    **dict.fromkeys(
        ("pe_core", "pe_core_gigantic", "pe_lang", "pe_spatial", "pe_spatial_gigantic"), "vit_pe_core_base_patch16_224"
    ),
    "pwee_parallel": "vit_pwee_patch16_reg1_gap_256",
    "parallel_qk_norm": "vit_pwee_patch16_reg1_gap_256",
    "reg4_rope_gap": "eva02_base_patch14_224",
    "relpos": "vit_relpos_base_patch16_224",
    "relpos_cls": "vit_relpos_base_patch16_224",
    "relpos_rpn": "vit_relpos_base_patch16_rpn_224",
    "relpos_table": "vit_relpos_base_patch16_224",
    "rpn": "vit_base_patch16_rpn_224",
    "srelpos": "vit_relpos_base_patch16_224",
    "rope_mixed_ape": "vit_base_patch16_rope_mixed_ape_224",
    "tinyclip": "vit_base_patch16_clip_224",
    "tipsv2_swiglu": "vit_giant_patch14_dinov2",
}


@pytest.mark.parametrize("name", CONFIGS)
def test_timm_has_an_architecture_for_every_kind_of_model(name):
    config = CONFIGS[name]
    written = timm_config(config, 7, NAMES)
    assert written["architecture"] == ARCHITECTURES.get(name, "vit_base_patch16_224")
    arguments = written["model_args"]
    inside = config.mlp_dim * (2 if written["architecture"] == "vit_giant_patch14_dinov2" else 1)
    assert int(config.hidden_dim * arguments["mlp_ratio"]) == inside  # as timm computes it
    assert arguments["img_size"] == list(config.image_size)
    assert written["label_names"] == NAMES
    assert json.loads(json.dumps(written)) == written


@pytest.mark.parametrize(
    ("library", "changes", "word"),
    [
        ("timm", {"pooling": "token_and_mean"}, "pooling"),
        ("timm", {"norm_epsilon": 1e-12}, "norm_epsilon"),
        ("timm", {"position_embedding": "sincos2d"}, "position_embedding"),
        ("timm", {"pre_logits_dim": 8}, "pre_logits_dim"),
        ("timm", {"stem": "conv"}, "stem"),
        ("timm", {"patch_bias": False}, "patch_bias"),
        ("timm", {"relative_position": "table"}, "relative_position"),
        ("timm", {"norm": "rms"}, "norm='rms'"),
        ("transformers", {"block_norm": "after"}, "block_norm"),
        ("transformers", {"qk_norm": True}, "qk_norm"),
        ("transformers", {"pooling": "mean"}, "pooling"),
        ("transformers", {"layer_scale": 1.0}, "layer_scale|token_and_mean"),
        ("transformers", {"stem": "conv"}, "stem"),
        ("transformers", {"position_embedding": "sincos2d"}, "position_embedding"),
    ],
)
def test_models_that_the_library_does_not_have_are_refused(library, changes, word):
    with pytest.raises(InvalidArgumentError, match=f"{library} has no such model.*({word})"):
        {"timm": timm_config, "transformers": huggingface_model}[library](SMALL.replace(**changes), NAMES)


@pytest.mark.parametrize("to", ["timm", "huggingface"])
def test_a_directory_has_config_and_weights(tmp_path, to):
    folder = write(random_weights(SMALL), SMALL, tmp_path / "out", to=to, class_names=NAMES)
    written = json.loads((folder / "config.json").read_text())
    assert NAMES in (written.get("label_names"), list(written.get("id2label", {}).values()))
    with safe_open(folder / "model.safetensors", framework="numpy") as file:
        assert file.metadata() == {"format": "pt"}
        assert ("head.weight" if to == "timm" else "classifier.weight") in set(file.keys())


def test_what_cannot_be_written_leaves_nothing(tmp_path, monkeypatch):
    clip, weights = CONFIGS["clip"], random_weights(SMALL)
    for given, config, arguments, message in (
        (random_weights(clip), clip, {"to": "huggingface"}, "no head/bias; it can be written only if it is zero"),
        (weights | {"more/kernel": np.ones(3)}, SMALL, {"to": "timm"}, r"no place for weights of the model: more/kernel"),
        (weights, SMALL, {"to": "tim"}, "to='tim'"),
        (weights, SMALL, {"to": "timm", "class_names": ["a", "b"]}, "2 class names for a model of 7"),
    ):  # fmt: skip
        with pytest.raises(InvalidArgumentError, match=message):
            write(given, config, tmp_path / "out", **arguments)
    write(random_weights(clip) | {"head/bias": np.zeros(7, "float32")}, clip, tmp_path / "out", to="huggingface")
    shutil.rmtree(tmp_path / "out")

    def full(*arguments, **keywords):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("vit_keras.weights.store.save_file", full)
    with pytest.raises(StorageError, match="No space left on device"):
        write(weights, SMALL, tmp_path / "out", to="timm")
    assert not list(tmp_path.iterdir())


def test_a34_an_existing_directory_is_unchanged(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    before = fingerprint(tmp_path)
    with pytest.raises(StorageError, match="nothing is overwritten"):
        write(random_weights(SMALL), SMALL, tmp_path / "out", to="timm")
    assert fingerprint(tmp_path) == before
