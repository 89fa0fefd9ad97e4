"""Trains and uses a model whose weights are divided among virtual devices, and prints what differs; `test_fsdp.py` runs it.

KERAS_BACKEND=jax python tests/distributed/sharded_model.py DEVICES
"""

import json
import os
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path

os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={sys.argv[1]}"

import jax
import keras
import numpy as np
import onnxruntime

import vit_keras as vk
from vit_keras.distributed.fsdp import FullySharded
from vit_keras.training.callbacks.averaging import ExponentialMovingAverage
from vit_keras.training.optim.optimizers import AdamW

COUNT = int(sys.argv[1])
CONFIG = vk.ViTConfig(image_size=16, patch_size=4, hidden_dim=32, num_layers=2, num_heads=2, mlp_dim=64)
MIN_SIZE = 64
RNG = np.random.default_rng(0)
IMAGES, LABELS = RNG.integers(0, 256, (30, 16, 16, 3)).astype("uint8"), RNG.integers(0, 3, 30)
OF_WEIGHTS = ("position_similarity", "patch_filters")
EXPLANATIONS = (
    "attention_maps", "attention_rollout", "class_relevance", "gradient_rollout", "block_features", "mean_attention_distance", *OF_WEIGHTS,
)  # fmt: skip
HEAD = RNG.normal(size=(32, 3))


def make():
    keras.utils.set_random_seed(0)
    model = vk.vit(CONFIG, num_classes=3)
    # A head of zeros gives no gradient at first, and Adam turns its rounding errors into large steps.
    model.get_layer("head").kernel.assign(HEAD)
    model.compile(
        AdamW(1e-3, weight_decay=0.3, layer_decay=0.7, epsilon=1e-3, global_clipnorm=1.0),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def train(scope):
    """Returns a model after 8 steps, the last of each epoch with 6 images, its losses and the averages of its weights."""
    with scope:
        model, average = make(), ExponentialMovingAverage(0.9, final="weights")
        history = model.fit(
            IMAGES, LABELS, batch_size=8, epochs=2, shuffle=False, verbose=0, callbacks=[average],
            validation_data=(IMAGES[:5], LABELS[:5]), validation_batch_size=4,
        ).history  # fmt: skip
        return model, history, average


def to_numpy(values):
    return [np.asarray(keras.ops.convert_to_numpy(value)) for value in values]


def difference(ones, others):
    return max(float(np.abs(one - two).max()) for one, two in zip(ones, others, strict=True))


def oracle(shape):
    """Returns the shape of a device's part: of the largest divisible dimension, the last of equal ones."""
    part = list(shape)
    if np.prod(shape, dtype=int) >= MIN_SIZE:
        for place in sorted(range(len(shape)), key=lambda place: (shape[place], place), reverse=True):
            if shape[place] % COUNT == 0:
                part[place] //= COUNT
                break
    return tuple(part)


def check_layout(variables):
    """Returns the variables whose parts on the devices are not what the rule says."""
    return [
        variable.path
        for variable in variables
        if {each.data.shape for each in variable.value.addressable_shards} != {oracle(variable.shape)}
    ]


def run_exported(model):
    """Returns what a model computes as an ONNX file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        vk.export(model, path)
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        return session.run(None, {session.get_inputs()[0].name: IMAGES[:3]})


def find_saving_problems(model):
    """Returns the ways of saving whose file differs from the model; they are read without a distribution."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        model.save(root / "model.keras")
        model.save_weights(root / "model.weights.h5")
        vk.save_preset(model, root / "preset")
        fresh = vk.vit(CONFIG, num_classes=3)
        fresh.load_weights(root / "model.weights.h5")
        read = {
            "weights": fresh,
            "keras": vk.load_model(root / "model.keras"),
            "preset": vk.load_model(root / "preset"),
        }
    for name, other in read.items():
        if difference(to_numpy(model.weights), to_numpy(other.weights)) != 0:
            found.append(name)
    return found


def main():
    reference, losses, average = train(nullcontext())
    fsdp = FullySharded(min_size=MIN_SIZE)
    sharded, found_losses, found_average = train(fsdp.scope())
    found = {
        "devices": len(jax.devices()),
        "weights": difference(to_numpy(reference.weights), to_numpy(sharded.weights)),
        "slots": difference(to_numpy(reference.optimizer.variables), to_numpy(sharded.optimizer.variables)),
        "average": difference(average.arrays(), found_average.arrays()),
        "losses": max(
            abs(one - two) / max(abs(one), 1e-9)
            for name in losses
            for one, two in zip(losses[name], found_losses[name], strict=True)
        ),
        "wrong_layout": check_layout([*sharded.variables, *sharded.optimizer.variables]),
        "average_layout": [
            variable.path
            for variable, value in zip(found_average.variables, found_average._average._averages, strict=True)
            if {each.data.shape for each in value.addressable_shards} != {oracle(variable.shape)}
        ],
        "bytes": [
            sum(variable.value.nbytes for variable in sharded.optimizer.variables),
            sum(variable.value.addressable_shards[0].data.nbytes for variable in sharded.optimizer.variables),
        ],
    }
    for variable, value in zip(sharded.weights, to_numpy(reference.weights), strict=True):
        variable.assign(value)
    with fsdp.scope():
        for count in (3, 30):
            pixels = IMAGES[:count]
            found[f"predict {count}"] = difference(
                [reference(pixels)], [sharded.predict(pixels, batch_size=8, verbose=0)]
            )
        ours, expected = (
            [model.evaluate(IMAGES, LABELS, batch_size=size, verbose=0) for size in (8, 7)]
            for model in (sharded, reference)
        )
        found["evaluate"] = difference([np.array(ours)], [np.array(expected)])
        found["saving"] = find_saving_problems(sharded)
        for name in EXPLANATIONS:
            ours, expected = (
                keras.tree.flatten(getattr(vk.explain, name)(model, *([IMAGES[:2]] if name not in OF_WEIGHTS else [])))
                for model in (sharded, reference)
            )
            found[name] = difference(to_numpy(ours), to_numpy(expected))
        found["export"] = difference(*(run_exported(model) for model in (sharded, reference)))
        split = vk.data.Split(IMAGES, LABELS.astype("int32"))
        found["features"] = difference(
            [vk.training.extract_features(sharded, split, batch_size=8)],
            [vk.training.extract_features(reference, split, batch_size=8)],
        )
        found["vk.predict"] = difference(
            *(
                [np.array([row.probabilities for row in vk.predict(model, IMAGES, top=None)])]
                for model in (sharded, reference)
            )
        )
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
