"""Files of further libraries give their own models' logits, from their names alone, and are written back exactly."""

from pathlib import Path

import numpy as np
import pytest
from faults.directories import OURS
from safetensors.numpy import load_file, save_file
from weights.checkpoints import assert_same_bits, converted, random_weights, shapes_of

from vit_keras.config import ViTConfig
from vit_keras.errors import WeightMismatchError
from vit_keras.models.vit import vit
from vit_keras.weights import load, open_tensors, plan
from vit_keras.weights.mappings.config_fields import HALF
from vit_keras.weights.mappings.libraries.timm import TIMM
from vit_keras.weights.settings.apply import apply_settings
from vit_keras.weights.settings.read import read_settings
from vit_keras.weights.writing import translate

GOLDEN = Path(__file__).parents[3] / "golden" / "libraries"
BASE = ViTConfig(**OURS)
CASES = {
    "torchvision": ("torchvision", {}),
    "torchvision_pre_logits": ("torchvision", {}),
    "lucidrains_old": ("lucidrains", {"qkv_bias": "none"}),
    "jeonsworld": ("jeonsworld", {}),
    "mmpretrain": ("mmpretrain", HALF),
    "mmpretrain_mean": ("mmpretrain", {**HALF, "layer_scale": 1e-5}),
}


def reference(name):
    """Returns a library's tensors, pixels and logits."""
    content = load_file(GOLDEN / f"{name}.safetensors")
    weights = {key.removeprefix("weights/"): array for key, array in content.items() if key.startswith("weights/")}
    return weights, content["pixels"], content["logits"]


@pytest.mark.parametrize("prefix", ["", "model."])
@pytest.mark.parametrize("name", CASES)
def test_a_librarys_model_computes_the_same_logits(tmp_path, name, prefix):
    source, changes = CASES[name]
    theirs, pixels, logits = reference(name)
    path = tmp_path / "x.safetensors"
    save_file({prefix + key: array for key, array in theirs.items()}, path)
    settings = read_settings(path)
    config = apply_settings(BASE.replace(**changes), settings)
    model = vit(config, num_classes=settings.num_classes)
    assert load(model, path).table.source == source
    np.testing.assert_allclose(model.predict(pixels, verbose=0), logits, rtol=1e-4, atol=1e-4)

    with open_tensors(path) as file:
        steps = plan(shapes_of(config, settings.num_classes), config, file)
        weights = converted(steps, file)
    back = translate(weights, config, steps.table)
    spelled = steps.table.canonical_names(prefix + key for key in theirs)
    assert_same_bits(back, {name: theirs[key.removeprefix(prefix)] for key, name in spelled.items()})


def test_torchvisions_first_names_are_read(tmp_path):
    theirs, _, _ = reference("torchvision")
    old = {
        key.replace("mlp.0.", "mlp.linear_1.").replace("mlp.3.", "mlp.linear_2."): array
        for key, array in theirs.items()
    }
    assert old.keys() != theirs.keys()
    found = []
    for tensors in (old, theirs):
        save_file(tensors, tmp_path / "x.safetensors")
        with open_tensors(tmp_path / "x.safetensors") as file:
            found.append(converted(plan(shapes_of(BASE, 5), BASE, file), file))
    assert_same_bits(*found)


def test_layers_that_are_not_built_are_named(tmp_path):
    theirs, _, _ = reference("jeonsworld")
    save_file(
        {**theirs, "transformer.embeddings.hybrid_model.root.conv.weight": np.ones(1)}, tmp_path / "x.safetensors"
    )
    with pytest.raises(WeightMismatchError, match=r"a ResNet makes its patches, which vit_keras does not build"):
        load(vit(BASE, num_classes=5), tmp_path / "x.safetensors")
    theirs, _, _ = reference("lucidrains")
    save_file(theirs, tmp_path / "x.safetensors")
    with pytest.raises(WeightMismatchError, match=r"patches are normalized before and after their projection"):
        load(vit(BASE.replace(qkv_bias="none"), num_classes=5), tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("patch_embed.backbone.stem.conv.weight", "a convolutional network makes its patches"),
        ("blocks_token_only.0.norm1.weight", "attention heads are mixed"),
    ],
)
def test_relatives_of_vits_in_timm_are_named(tmp_path, name, what):
    weights = translate(random_weights(BASE, 5), BASE, TIMM)
    save_file({**weights, name: np.ones(1, "float32")}, tmp_path / "x.safetensors")
    with (
        pytest.raises(WeightMismatchError, match=f"{what}.*, which vit_keras does not build"),
        open_tensors(tmp_path / "x.safetensors") as file,
    ):
        plan(shapes_of(BASE, 5), BASE, file)
