"""The presets: named Vision Transformers with their weights. No Keras."""

from vit_keras.presets.catalog import find_name, load_preset, preset_info, register_presets
from vit_keras.presets.names import PresetName
from vit_keras.presets.preset import Checkpoint, Preset, checkpoint_bytes
from vit_keras.presets.selection import list_presets, list_weights

__all__ = [
    "Checkpoint",
    "Preset",
    "PresetName",
    "checkpoint_bytes",
    "find_name",
    "list_presets",
    "list_weights",
    "load_preset",
    "preset_info",
    "register_presets",
]
