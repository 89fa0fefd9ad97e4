"""Trains the same model on one device and on two, and prints the difference; `test_several_devices.py` runs it.

    KERAS_BACKEND=jax python tests/training/optim/several_devices.py

Both devices are virtual ones of the CPU. On TensorFlow they are `tf.distribute.MirroredStrategy`'s, on JAX `keras.distribution.DataParallel`'s.
"""

import json
import os
import sys
from contextlib import nullcontext

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"

import keras
import numpy as np

import vit_keras as vk
from vit_keras.training.optim.optimizers import SGD, AdamW
from vit_keras.training.optim.schedules import warmup_cosine

CONFIG = vk.ViTConfig(image_size=16, patch_size=4, hidden_dim=32, num_layers=1, num_heads=2, mlp_dim=64)


def train(scope, optimizer):
    """Returns the weights after 8 steps."""
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (32, 16, 16, 3)).astype("uint8"), rng.integers(0, 3, 32)
    with scope:
        keras.utils.set_random_seed(0)
        model = vk.vit(CONFIG, num_classes=3)
        # A head of zeros gives no gradient at first, and Adam turns its rounding errors into large steps.
        model.get_layer("head").kernel.assign(rng.normal(size=(32, 3)))
        model.compile(optimizer(), keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    model.fit(images, labels, batch_size=8, epochs=2, shuffle=False, verbose=0)
    return [keras.ops.convert_to_numpy(variable) for variable in model.trainable_variables]


def main():
    on_jax, found = keras.backend.backend() == "jax", {}
    if not on_jax:
        import tensorflow as tf

        parts = [tf.config.LogicalDeviceConfiguration()] * 2
        tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], parts)
        # A second strategy in a process would collide with the collectives of the first.
        strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
        assert strategy.num_replicas_in_sync == 2
    rates = warmup_cosine(1e-2, steps=8, warmup_steps=2)
    for name, optimizer in {
        "sgd": lambda: SGD(rates, weight_decay=0.3, layer_decay=0.7, global_clipnorm=0.1),
        "adamw": lambda: AdamW(rates, weight_decay=0.3, layer_decay=0.7, epsilon=1e-3),
    }.items():
        ends = []
        for several in (False, True):
            if on_jax:
                keras.distribution.set_distribution(keras.distribution.DataParallel() if several else None)
            ends.append(train(strategy.scope() if several and not on_jax else nullcontext(), optimizer))
        found[name] = max(float(np.abs(one - two).max()) for one, two in zip(*ends, strict=True))
    if not on_jax:
        with strategy.scope():
            try:
                AdamW(gradient_accumulation_steps=2).build([keras.Variable([1.0])])
            except vk.errors.InvalidArgumentError as error:
                found["refused"] = str(error)
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
