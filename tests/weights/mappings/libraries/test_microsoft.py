"""BEiT-3 in Microsoft's own files: read as timm converts them."""

import re

import numpy as np
import pytest
from safetensors.numpy import save_file
from weights.checkpoints import CONFIGS, assert_same_bits, converted, random_weights, shapes_of

from vit_keras.weights import open_tensors, plan
from vit_keras.weights.mappings.libraries.microsoft import BEIT3
from vit_keras.weights.mappings.libraries.timm import TIMM
from vit_keras.weights.mappings.sources import find_table
from vit_keras.weights.writing import translate

pytestmark = pytest.mark.any_backend
CONFIG = CONFIGS["beit3"]
# Of texts and of training; `B` is the branch for texts.
MORE = {
    "beit3.text_embed.weight": (30, 24), "beit3.vision_embed.mask_token": (1, 1, 24), "beit3.encoder.embed_positions.B.weight": (9, 24),
    "beit3.encoder.layers.0.self_attn.q_proj.B.weight": (24, 24), "beit3.encoder.layers.1.ffn.B.fc1.bias": (96,),
}  # fmt: skip


def write_microsofts(path, config, num_classes=7):
    """Writes random weights as Microsoft does; returns them and the tensors."""
    weights = random_weights(config, num_classes)
    theirs = {
        name if name.startswith(("head.", "fc_norm.")) else f"beit3.{name}": array
        for name, array in translate(weights, config, BEIT3).items()
    }
    theirs |= {name: np.ones(shape, "float32") for name, shape in MORE.items()}
    save_file(theirs, path)
    return weights, theirs


def read(path, config, num_classes):
    with open_tensors(path) as file:
        return converted(plan(shapes_of(config, num_classes), config, file), file)


@pytest.mark.parametrize(("final_norm", "num_classes"), [("after", 7), ("before", None)])
def test_the_classifier_and_the_pretrained_encoder_are_read(tmp_path, final_norm, num_classes):
    config = CONFIG.replace(final_norm=final_norm)
    weights, theirs = write_microsofts(tmp_path / "x.safetensors", config, num_classes)
    assert theirs["beit3.encoder.embed_positions.A.weight"].shape == (2 + 1 + 16, 24)
    assert find_table(theirs).title == "Microsoft's BEiT-3"
    assert_same_bits(read(tmp_path / "x.safetensors", config, num_classes), weights)


def test_timm_converts_the_same_file_to_the_same_weights(tmp_path):
    torch = pytest.importorskip("torch")
    timm = pytest.importorskip("timm.models.vision_transformer")
    weights, theirs = write_microsofts(tmp_path / "x.safetensors", CONFIG)
    found = timm._convert_beit3({name: torch.from_numpy(array) for name, array in theirs.items()}, None)
    expected = {
        name: array for name, array in translate(weights, CONFIG, TIMM).items() if not re.match("mask|text", name)
    }
    assert_same_bits({name: found[name].numpy() for name in expected}, expected)
