"""Attention maps beside those that transformers returns with `output_attentions=True`, eager attention, random weights."""

import numpy as np
import pytest
from weights.mappings.test_huggingface import CASES, OURS, make

from vit_keras.config import ViTConfig
from vit_keras.explain import attention_maps
from vit_keras.models.vit import vit
from vit_keras.weights import load

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")


@pytest.mark.parametrize("name", ["vit", "deit", "dinov2", "dinov2 with registers", "dinov3", "siglip", "clip"])
def test_maps_are_those_of_transformers(name, tmp_path):
    model, config, theirs, ours, num_classes, _ = CASES[name]
    source = make(model, config, theirs)
    source.set_attn_implementation("eager")
    source.save_pretrained(tmp_path)
    copy = vit(ViTConfig(**{**OURS, **ours}), num_classes=num_classes)
    load(copy, tmp_path / "model.safetensors")
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype("float32")
    normalized = torch.from_numpy((images.transpose(0, 3, 1, 2) / 255 - 0.5) / 0.5)
    with torch.no_grad():
        expected = source(pixel_values=normalized, output_attentions=True).attentions
    maps = attention_maps(copy, images)
    assert len(expected) == len(maps) == 2
    for ours_, theirs_ in zip(maps, expected, strict=True):
        np.testing.assert_allclose(ours_, theirs_.numpy(), atol=1e-5)
