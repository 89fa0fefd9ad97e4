"""Bytes per device of a training step when devices divide a model's weights (FSDP) compared with whole weights on each, on JAX.

    python benchmarks/devices.py [--quick]

The devices are virtual ones of the CPU. Large models are compiled from shapes alone: nothing of their size is allocated, and the compiler
says what the step needs. A small one trains, and its weights are compared with those of one device. `state` are weights and optimizer state;
`gradients` are parts like those of the weights; `transient` is the compiler's peak of everything else: activations, gathered weights, and
gradients before they are divided. `share` is the sum of weights, optimizer state and gradients, divided by that of one device.
"""

import argparse
import os
from contextlib import nullcontext
from typing import Any
from unittest import mock

os.environ["KERAS_BACKEND"] = "jax"
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"

import harness
import jax
import keras
import numpy as np
from keras.src.backend.jax.core import JaxVariable

import vit_keras as vk
from vit_keras.distributed.fsdp import FullySharded

LARGE = (("vit_huge_patch14_224", 16), ("vit_base_patch16_224", 16))
SMALL, SMALL_BATCH, STEPS = "vit_tiny_patch16_224", 8, 4


def scope_of(how: str, count: int) -> Any:
    """Returns the scope of a distribution over the first devices."""
    names = keras.distribution.list_devices()[:count]
    if count == 1:
        return nullcontext()
    if how == "fsdp":
        return FullySharded(names).scope()
    return keras.distribution.DataParallel(devices=names, auto_shard_dataset=False).scope()


def keep_shape_only(variable: JaxVariable, initializer: Any) -> None:
    """Replaces the initial value of a large variable by its shape and layout."""
    variable._initialize_layout()
    if np.prod(variable.shape, dtype=int) < 2**10:
        initialize(variable, initializer)
        return
    layout = None if variable._layout is None else variable._layout.backend_layout
    variable._value = jax.ShapeDtypeStruct(variable.shape, variable.dtype, sharding=layout)


initialize = JaxVariable._initialize_with_initializer


def bytes_of(value: Any) -> int:
    """Returns the bytes of an array or a shape on its first device."""
    shape = value.sharding.shard_shape(value.shape) if value.sharding is not None else value.shape
    return int(np.prod(shape, dtype=int)) * np.dtype(value.dtype).itemsize


def make(preset: str, **changes: int) -> keras.Model:
    """Returns a compiled model with the state of its optimizer; `changes` are of the config."""
    model = vk.from_preset(preset, num_classes=1000, remat="block", **changes)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(vk.training.AdamW(1e-3, weight_decay=0.05, global_clipnorm=1.0), loss)
    model.optimizer.build(model.trainable_variables)
    return model


def compiled_cell(preset: str, batch_size: int, how: str, count: int, **changes: int) -> dict[str, Any]:
    """Compiles a training step from shapes."""
    with mock.patch.object(JaxVariable, "_initialize_with_initializer", keep_shape_only), scope_of(how, count):
        model = make(preset, **changes)
        groups = (
            model.trainable_variables, model.non_trainable_variables, model.optimizer.variables, model.metrics_variables,
        )  # fmt: skip
        state = [[variable._value for variable in group] for group in groups]
        distribution = keras.distribution.distribution()

        def batch(*shape: int, dtype: str) -> jax.ShapeDtypeStruct:
            layout = None if distribution is None else distribution.get_data_layout(shape).backend_layout
            return jax.ShapeDtypeStruct(shape, dtype, sharding=layout)

        data = (batch(batch_size, *model.input_shape[1:], dtype="uint8"), batch(batch_size, dtype="int32"))
        shardings = [[value.sharding for value in group] for group in state]
        step = jax.jit(
            model.train_step, donate_argnums=0, out_shardings=None if distribution is None else (None, tuple(shardings))
        )
        memory = step.lower(state, data).compile().memory_analysis()
    weights, slots = (sum(map(bytes_of, state[place])) for place in (0, 2))
    return {
        "preset": preset, "batch_size": batch_size, "distribution": how if count > 1 else "one device", "devices": count,
        "weights": weights, "optimizer": slots, "gradients": weights, "state": weights + slots,
        "arguments_of_the_compiler": memory.argument_size_in_bytes, "transient": memory.temp_size_in_bytes,
    }  # fmt: skip


def trained_cell(preset: str, batch_size: int) -> dict[str, Any]:
    """Trains on one device and on several, and compares."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (batch_size * STEPS, 224, 224, 3)).astype("uint8")
    labels = rng.integers(0, 1000, len(images))
    ends, losses, found = [], [], {}
    for count in (1, 4):
        keras.utils.set_random_seed(0)
        with scope_of("fsdp", count):
            model = make(preset)
            history = model.fit(images, labels, batch_size=batch_size, shuffle=False, verbose=0).history
        variables = [*model.trainable_variables, *model.optimizer.variables]
        found[f"state_on_{count}"] = sum(bytes_of(variable.value) for variable in variables)
        ends.append([np.asarray(weight) for weight in model.weights])
        losses.append(history["loss"][-1])
    return {
        "preset": preset, "batch_size": batch_size, "steps": STEPS, **found, "losses": losses,
        "largest_difference": max(float(np.abs(one - two).max()) for one, two in zip(*ends, strict=True)),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one block of the small model, compiled only")
    quick = parser.parse_args().quick
    cells = []
    for preset, batch_size in [(SMALL, SMALL_BATCH)] if quick else LARGE:
        # The difference between two batch sizes is that of the activations.
        more = [] if quick else [("data", 1, 2), ("fsdp", 8, 1)]
        for how, count, times in [("data", 1, 1), ("fsdp", 4, 1), *more]:
            cell = compiled_cell(preset, times * batch_size, how, count, **({"num_layers": 1} if quick else {}))
            one = next((each for each in cells if each["preset"] == preset), cell)
            cell["share"] = (cell["state"] + cell["gradients"]) / (one["state"] + one["gradients"])
            cells.append(cell)
            print(cell, flush=True)
    result = {"compiled": cells} if quick else {"compiled": cells, "trained": trained_cell(SMALL, SMALL_BATCH)}
    harness.record("devices", result, quick=quick)


if __name__ == "__main__":
    main()
