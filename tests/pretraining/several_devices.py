"""Pre-trains on one device and on two of `tf.distribute.MirroredStrategy`, and prints what differs; `test_several_devices.py` runs it.

KERAS_BACKEND=tensorflow python tests/pretraining/several_devices.py FOLDER
"""

import json
import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from rich.console import Console

import vit_keras as vk

OPTIONS = {"epochs": 1, "batch_size": 8, "seed": 3, "precision": "float32", "console": Console(quiet=True)}
CONFIG = vk.ViTConfig(image_size=16, patch_size=4, hidden_dim=32, num_layers=1, num_heads=2, mlp_dim=64)


def make(seed=0):
    keras.utils.set_random_seed(seed)
    return vk.vit(CONFIG)


def main():
    folder = Path(sys.argv[1])
    parts = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], parts)
    images = np.random.default_rng(0).integers(0, 256, (32, 16, 16, 3)).astype("uint8")
    found = {}
    for method, options in {"mae": {}, "distill": {"teacher": make(1)}}.items():
        results = []
        for devices in (1, 2):
            run_dir = folder / f"{method}-{devices}"
            result = vk.pretrain(make(), images, method=method, devices=devices, run_dir=run_dir, **options, **OPTIONS)
            results.append(result)
            found[f"{method}: devices {devices}"] = result.record["devices"]["count"]
        one, two = results
        found[f"{method}: losses"] = [[row["loss"] for row in each.history] for each in results]
        found[f"{method}: validation"] = [[row["val_loss"] for row in each.history] for each in results]
        pairs = zip(one.encoder.get_weights(), two.encoder.get_weights(), strict=True)
        found[f"{method}: weights"] = max(float(np.abs(a - b).max()) for a, b in pairs)
    try:
        vk.pretrain(make(), images, method="lejepa", devices=2, run_dir=folder / "lejepa", **OPTIONS)
    except vk.errors.ClusterError as error:
        found["refused"] = str(error)
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
