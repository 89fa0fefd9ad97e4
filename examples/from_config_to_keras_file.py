"""Builds a ViT from a config, saves it as `.keras`, and loads it with safe mode on.

python examples/from_config_to_keras_file.py
"""

import tempfile

import keras
import numpy as np

import vit_keras as vk

config = vk.ViTConfig(image_size=32, patch_size=4, hidden_dim=192, num_layers=9, num_heads=3, mlp_dim=384)
print(f"{config.num_params:,} parameters, {config.num_macs / 1e6:.0f} MMACs, {config.num_tokens} tokens per image")

model = vk.vit(config, num_classes=10, classifier_activation="softmax")
images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype="uint8")
with tempfile.TemporaryDirectory() as folder:
    model.save(f"{folder}/vit.keras")
    loaded = keras.saving.load_model(f"{folder}/vit.keras", safe_mode=True)
same = np.array_equal(model.predict(images, verbose=0), loaded.predict(images, verbose=0))
print(f"bit-identical after loading: {same}, same config: {vk.model_config(loaded) == config}")
