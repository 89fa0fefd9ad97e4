"""Trains the same model on one device and on two, and prints the difference; `test_several_devices.py` runs it.

    KERAS_BACKEND=jax python tests/training/optim/several_devices.py

Both devices are virtual ones of the CPU. On TensorFlow they are `tf.distribute.MirroredStrategy`'s, on JAX `keras.distribution.DataParallel`'s.
"""

import functools
import json
import os
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Any

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"

import keras
import numpy as np

import vit_keras as vk
from vit_keras.training.optim.optimizers import SGD, AdamW
from vit_keras.training.optim.schedules import warmup_cosine

CONFIG = vk.ViTConfig(image_size=16, patch_size=4, hidden_dim=32, num_layers=2, num_heads=2, mlp_dim=64)


def one_device() -> AbstractContextManager[Any]:
    """Returns a context in which a model is built and compiled for one device."""
    if keras.backend.backend() == "jax":
        keras.distribution.set_distribution(None)
    return nullcontext()


def two_devices() -> AbstractContextManager[Any]:
    if keras.backend.backend() == "jax":
        keras.distribution.set_distribution(keras.distribution.DataParallel())
        return nullcontext()
    scope: AbstractContextManager[Any] = strategy().scope()
    return scope


@functools.cache
def strategy() -> Any:
    """Returns TensorFlow's devices; a second strategy in a process would collide with the collectives of the first."""
    import tensorflow as tf

    found = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    assert found.num_replicas_in_sync == 2
    return found


def train(scope: AbstractContextManager[Any], optimizer: Any) -> list[np.ndarray]:
    """Returns the weights after 12 steps."""
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (32, 16, 16, 3)).astype("uint8"), rng.integers(0, 3, 32)
    with scope:
        keras.utils.set_random_seed(0)
        model = vk.vit(CONFIG, num_classes=3)
        # A head of zeros gives no gradient at first, and Adam turns its rounding errors into large steps.
        model.get_layer("head").kernel.assign(rng.normal(size=(32, 3)))
        model.compile(optimizer(), keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    model.fit(images, labels, batch_size=8, epochs=3, shuffle=False, verbose=0)
    return [keras.ops.convert_to_numpy(variable) for variable in model.trainable_variables]


def main() -> None:
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        parts = [tf.config.LogicalDeviceConfiguration()] * 2
        tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], parts)
    rates = warmup_cosine(1e-2, steps=12, warmup_steps=2)
    found: dict[str, Any] = {}
    for name, optimizer in {
        "sgd": lambda: SGD(rates, weight_decay=0.3, layer_decay=0.7, global_clipnorm=0.1),
        "adamw": lambda: AdamW(rates, weight_decay=0.3, layer_decay=0.7, epsilon=1e-3),
    }.items():
        one, two = train(one_device(), optimizer), train(two_devices(), optimizer)
        found[name] = max(float(np.abs(first - second).max()) for first, second in zip(one, two, strict=True))
    if keras.backend.backend() == "tensorflow":
        with two_devices():
            try:
                AdamW(gradient_accumulation_steps=2).build([keras.Variable([1.0])])
            except vk.errors.InvalidArgumentError as error:
                found["refused"] = str(error)
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
