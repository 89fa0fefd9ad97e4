"""Attention maps beside those that transformers returns with `output_attentions=True`, eager attention, random weights."""

import numpy as np
import pytest
from faults.directories import images
from weights.mappings.libraries.test_huggingface import CASES, make

from vit_keras.explain import attention_maps
from vit_keras.zoo.from_preset import from_preset

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")


@pytest.mark.parametrize("name", ["vit", "deit", "dinov2", "dinov2 with registers", "dinov3", "siglip", "clip"])
def test_maps_are_those_of_transformers(name, tmp_path):
    model, config, changes, _, (mean, std) = CASES[name]
    source = make(tmp_path, model, config, changes)
    source.set_attn_implementation("eager")
    pixels = images().astype("float32")
    normalized = torch.from_numpy((pixels / 255 - np.float32(mean)) / np.float32(std)).permute(0, 3, 1, 2)
    with torch.no_grad():
        expected = source(pixel_values=normalized, output_attentions=True).attentions
    maps = attention_maps(from_preset(tmp_path), pixels)
    assert len(expected) == len(maps) == 2
    for ours, theirs in zip(maps, expected, strict=True):
        np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-5)
