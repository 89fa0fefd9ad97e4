"""A small model of every family of the zoo, with random weights."""

import keras
import oracle
import pytest

from vit_keras import vit
from vit_keras.presets import list_presets, load_preset

CLASSES = 5


def small_config(config):
    """The same architecture on 3 x 4 patches of 4 px, two blocks, width 16; packed images are not explained."""
    reference = (5, 7) if config.rotary_reference else None
    return config.replace(
        image_size=(12, 16), patch_size=4, hidden_dim=16, num_layers=2, num_heads=2, mlp_dim=24, channels=3,
        pixel_mean=(0.4, 0.5, 0.6), pixel_std=(0.2, 0.3, 0.4), rotary_reference=reference, stochastic_depth_rate=0.1,
        pre_logits_dim=8 if config.pre_logits_dim else None, layer_scale=0.1 if config.layer_scale else None, norm_epsilon=1e-5,
        position_resize="bicubic", patch_resize="bilinear", map_mlp_dim=20 if config.map_mlp_dim else None,
        num_map_heads=4 if config.num_map_heads else None, max_num_patches=None, num_registers=min(config.num_registers, 4),
        relative_position_dim=8 if config.relative_position == "mlp" else 128,
    )  # fmt: skip


_FIRST = {}  # the first preset of each architecture
for _name in list_presets():
    if load_preset(_name).config.differential_attention:
        continue  # refused: see test_attention.py
    _FIRST.setdefault(small_config(load_preset(_name).config), _name)
_ALL = {name: config for config, name in _FIRST.items()}
# Every shape on TensorFlow; elsewhere, where each operation of each shape is compiled alone, some.
_SOME = dict(list(_ALL.items())[::8]) | {name: config for name, config in _ALL.items() if config.distillation_token}
FAMILIES = _ALL if keras.backend.backend() == "tensorflow" else _SOME


def _covering(families):
    """A few families that together have every value of every field of their configs."""
    values = {
        name: {(field, str(value)) for field, value in config.to_dict().items()} for name, config in families.items()
    }
    chosen, missing = [], set.union(*values.values())
    while missing:
        chosen.append(max(values, key=lambda name: len(values[name] & missing)))
        missing -= values[chosen[-1]]
    return chosen


COVERING = _covering(FAMILIES)
PARAMETERS = [pytest.param(name, marks=[] if name in COVERING else pytest.mark.slow) for name in FAMILIES]
"""A covering few in the fast suite, all in the slow one."""


def small_model(name, *, num_classes=CLASSES):
    return oracle.randomize(vit(FAMILIES[name], num_classes=num_classes), seed=4)
