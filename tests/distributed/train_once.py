"""Trains a small model with all that is random or averaged over a batch, and writes its losses and weights; tests run it.

    python tests/distributed/train_once.py RUN_DIR OUT.npz [NAME=VALUE ...]

With `virtual=N` the processor appears as N devices. Everything else is an argument of `vk.train`.
"""

import errno
import json
import os
import sys

import keras
import numpy as np

import vit_keras as vk
from vit_keras.distributed.cluster import process_id
from vit_keras.training.checkpoints import folder

SETTINGS = {
    "epochs": 4,
    "batch_size": 16,
    "augmentation": "strong",
    "stochastic_depth_rate": 0.2,
    "average_decay": 0.9,
    "class_weights": (1.0, 2.0, 0.5),
    "clip_norm": 1.0,
    "patience": None,
    "seed": 3,
}


class Losses(keras.callbacks.Callback):
    """Collects the loss of each step, a mean since the start of the epoch."""

    def __init__(self):
        super().__init__()
        self.values = []

    def on_train_batch_end(self, batch, logs=None):
        self.values.append(float(logs["loss"]))


class Trouble(keras.callbacks.Callback):
    """Does something at a step of one process."""

    def __init__(self, what, step, process):
        super().__init__()
        self.what, self.at, self.process, self.step = what, int(step), int(process), 0

    def get_state(self):
        return {}  # a resumed run has no trouble

    def set_state(self, state):
        pass

    def on_train_batch_end(self, batch, logs=None):
        self.step += 1
        if self.step == self.at and process_id() == self.process:
            if self.what == "stop":
                self.model.stop_training = True
            elif self.what == "fail":
                raise ValueError("trouble")
            elif self.what == "full":
                folder.write_tensors = fill_disk
            else:
                os.kill(os.getpid(), int(self.what))


def fill_disk(tensors, path):
    path.write_bytes(b"half")
    raise OSError(errno.ENOSPC, "No space left on device", str(path))


def make_data():
    """Returns images of noise in three classes that differ in brightness; 37 of validation, which nothing divides."""
    rng = np.random.default_rng(0)
    sizes = {"train": 80, "validation": 37}
    splits = {}
    for name, count in sizes.items():
        labels = np.arange(count, dtype="int32") % 3
        images = rng.integers(0, 150, (count, 16, 16, 3)) + 50 * labels[:, None, None, None]
        splits[name] = vk.data.Split(images.astype("uint8"), labels)
    return vk.data.ImageData(name="noise", class_names=("a", "b", "c"), splits=splits, batch_size=16)


def main():
    run_dir, out = sys.argv[1:3]
    arguments = dict(word.split("=", 1) for word in sys.argv[3:])
    # JAX reads it when it is used first.
    os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={arguments.pop('virtual', '1')}"
    options = {**SETTINGS, **{name: _value(text) for name, text in arguments.items() if name != "trouble"}}
    keras.config.set_dtype_policy("float32")
    config = vk.ViTConfig(image_size=16, patch_size=4, hidden_dim=32, num_layers=2, num_heads=2, mlp_dim=64)
    losses = Losses()
    callbacks = [losses, Trouble(*arguments.get("trouble", "none:0:0").split(":"))]
    vk.join_launch()
    keras.utils.set_random_seed(0)
    model = vk.vit(config, num_classes=3)
    result = vk.train(model, make_data(), run_dir=run_dir, callbacks=callbacks, **options)
    if process_id():
        return
    weights = [np.asarray(keras.ops.convert_to_numpy(weight)).ravel() for weight in result.model.weights]
    np.savez(
        out,
        losses=losses.values,
        validation=[row["val_loss"] for row in result.history],
        accuracy=[row["val_accuracy"] for row in result.history],
        weights=np.concatenate(weights),
        devices=result.record["devices"]["count"],
        waiting=[[each[name] for name in ("data", "processes", "training")] for each in result.record["waiting"]],
    )


def _value(text):
    try:
        return json.loads(text)
    except ValueError:
        return text


if __name__ == "__main__":
    main()
