"""Files of training scripts: their prefixes are found and said, and of several models the right one is read."""

import re

import numpy as np
import pytest
from safetensors.numpy import save_file
from weights.checkpoints import CONFIGS, assert_same_bits, converted, random_weights, shapes_of

from vit_keras.errors import InvalidArgumentError
from vit_keras.weights import open_tensors, plan
from vit_keras.weights.mappings.libraries.huggingface import HF_CLIP, HF_VIT
from vit_keras.weights.mappings.libraries.timm import TIMM
from vit_keras.weights.mappings.sources import find_table
from vit_keras.weights.settings.read import read_settings
from vit_keras.weights.writing import translate

SMALL, DINO = CONFIGS["vit_patch8"], CONFIGS["dinov2"]
WEIGHTS, OTHERS = random_weights(SMALL), random_weights(SMALL, seed=1)
THEIRS, THEIR_OTHERS = translate(WEIGHTS, SMALL, TIMM), translate(OTHERS, SMALL, TIMM)
SCALAR = np.zeros(1, "float32")


def below(prefix, tensors):
    return {prefix + name: array for name, array in tensors.items()}


def read(folder, tensors, config=SMALL, **arguments):
    """Returns the weights that a file with these tensors makes, and the plan's notes."""
    save_file(tensors, folder / "x.safetensors")
    with open_tensors(folder / "x.safetensors") as file:
        steps = plan(shapes_of(config, 7), config, file, **arguments)
        return converted(steps, file), steps.notes


@pytest.mark.parametrize(
    ("prefix", "said"),
    [
        *[(name, name) for name in ("model.", "net.", "encoder.", "student.", "teacher.", "vit.", "image_encoder.")],
        *[
            (name, name)
            for name in ("visual.trunk.", "state_dict.model.", "state_dict_ema.", "base_model.model.", "my_net.")
        ],
        ("module.", None),
        ("_orig_mod.", None),
        ("module._orig_mod.", None),
        ("model._orig_mod.", "model."),
        ("_orig_mod.module.backbone.", "backbone."),
        ("state_dict.model._orig_mod.net.", "state_dict.model.net."),
    ],
)
def test_any_prefix_is_stripped_and_said(tmp_path, prefix, said):
    found, notes = read(tmp_path, below(prefix, THEIRS))
    assert_same_bits(found, WEIGHTS)
    assert notes == ((f"the names begin with {said!r}",) if said else ())
    assert read_settings(tmp_path / "x.safetensors").num_classes == 7


def test_wrappers_inside_a_model_are_stripped(tmp_path):
    theirs = {
        re.sub(r"^(blocks\.\d+)\.", r"\1._orig_mod._checkpoint_wrapped_module.", key): THEIRS[key] for key in THEIRS
    }
    assert_same_bits(read(tmp_path, theirs)[0], WEIGHTS)


@pytest.mark.parametrize(
    ("better", "other"),
    [
        ("model_ema.module.", "model."), ("state_dict_ema.", "state_dict."), ("teacher.backbone.", "student.module.backbone."),
        ("target_encoder.module.", "encoder.module."), ("module.base_encoder.", "module.momentum_encoder."), ("ema.", ""),
    ],
)  # fmt: skip
def test_of_several_models_averaged_weights_are_read_and_prefix_chooses(tmp_path, better, other):
    left_out = below(other, THEIR_OTHERS) | {"optimizer.step": SCALAR}
    tensors = {**left_out, **below(better, THEIRS)}
    better, other = (name.replace("module.", "") for name in (better, other))
    found, notes = read(tmp_path, tensors)
    assert_same_bits(found, WEIGHTS)
    assert notes[0] == f"the names begin with {better!r}"
    assert f"prefix= one of {other!r}" in notes[1]
    assert notes[2] == f"left out (not of the model at {better!r}): {len(left_out)}, such as {min(left_out)}"
    tensors.pop("optimizer.step")
    for wanted in (other, other.rstrip("."), other.split(".")[0]):
        assert_same_bits(read(tmp_path, tensors, prefix=wanted)[0], OTHERS)


def test_several_models_without_a_better_one_and_an_unknown_prefix_are_refused_with_the_choices(tmp_path):
    tensors = {**below("left.", THEIRS), **below("right.", THEIR_OTHERS)}
    with pytest.raises(InvalidArgumentError, match=r"choose one, by prefix= one of 'left\.', 'right\.'"):
        read(tmp_path, tensors)
    with pytest.raises(InvalidArgumentError, match=r"prefix='top' is not that of one model.*'left\.', 'right\.'"):
        read(tmp_path, tensors, prefix="top")
    with pytest.raises(InvalidArgumentError, match="prefix='model'"):
        read_settings(tmp_path / "x.safetensors", prefix="model")
    assert_same_bits(read(tmp_path, tensors, prefix="right")[0], OTHERS)


def test_a_head_beside_the_prefix_belongs_to_the_model(tmp_path):
    theirs = {name if name.startswith("head.") else f"model.backbone.{name}": array for name, array in THEIRS.items()}
    for tensors in (theirs, {name.replace("head.", "model.head."): array for name, array in theirs.items()}):
        assert_same_bits(read(tmp_path, tensors)[0], WEIGHTS)
    hf = translate(WEIGHTS, SMALL, HF_VIT)
    hf = {name if name.startswith("classifier.") else f"vit.{name}": array for name, array in hf.items()}
    found, notes = read(tmp_path, below("base_model.model.", hf))
    assert_same_bits(found, WEIGHTS)
    assert notes == ("the names begin with 'base_model.model.'",)


def test_a_whole_training_checkpoint_of_dino_gives_the_teachers_backbone(tmp_path):
    heads = {
        f"{who}.head.{name}": SCALAR
        for who in ("teacher", "student.module")
        for name in ("mlp.0.weight", "last_layer.weight_g")
    }
    bodies = [
        {name: array for name, array in each.items() if not name.startswith("head.")} for each in (THEIRS, THEIR_OTHERS)
    ]
    tensors = {**below("teacher.backbone.", bodies[0]), **below("student.module.backbone.", bodies[1]), **heads}
    save_file(tensors, tmp_path / "x.safetensors")
    assert find_table(tensors).title == "a training checkpoint of Meta's DINO or I-JEPA"
    with open_tensors(tmp_path / "x.safetensors") as file:
        steps = plan(shapes_of(SMALL, None), SMALL, file)
        found = converted(steps, file)
    assert_same_bits(found, {name: array for name, array in WEIGHTS.items() if not name.startswith("head/")})
    assert read_settings(tmp_path / "x.safetensors").convention["pixel_mean"] == (0.485, 0.456, 0.406)


@pytest.mark.parametrize("prefix", ["", "teacher.backbone.", "_fsdp_wrapped_module."])
def test_dinov2s_chunked_blocks_are_read(tmp_path, prefix):
    weights = random_weights(DINO)
    theirs = translate(weights, DINO, TIMM) | {"mask_token": np.zeros((1, 48), "float32")}
    chunked = {re.sub(r"^blocks\.(\d+)\.", r"blocks.0.\1.", name): array for name, array in theirs.items()}
    assert_same_bits(read(tmp_path, below(prefix, chunked), DINO)[0], weights)
    assert find_table(below(prefix, chunked)).title.startswith("Meta's DINOv2")


def test_the_image_tower_of_a_larger_model_is_read_and_the_rest_said(tmp_path):
    config = CONFIGS["clip"]
    weights = random_weights(config, None)
    tower = below("vision_tower.vision_model.", translate(weights, config, HF_CLIP))
    save_file({**tower, "language_model.lm_head.weight": SCALAR}, tmp_path / "x.safetensors")
    with open_tensors(tmp_path / "x.safetensors") as file:
        steps = plan(shapes_of(config, None), config, file)
        assert_same_bits(converted(steps, file), weights)
    assert steps.notes[1] == "left out (not of the model at 'vision_tower.'): 1, such as language_model.lm_head.weight"
