"""The presets: named Vision Transformers with their weights. No Keras."""

from vit_keras.presets.catalog import list_presets, load_preset, preset_info, register_presets
from vit_keras.presets.preset import Checkpoint, Preset, checkpoint_bytes

__all__ = ["Checkpoint", "Preset", "checkpoint_bytes", "list_presets", "load_preset", "preset_info", "register_presets"]
