"""Trained weights, memory and time of a training step of each fine-tuning method.

    KERAS_BACKEND=jax python benchmarks/adapters.py [--preset vit_small_patch16_224] [--batch 8] [--rounds 7]

Memory is measured in a fresh process per row. On JAX it is XLA's analysis of the compiled step: `state` (weights and optimizer) and
`temporary` (activations and gradients). On torch, `peak` is the weights plus the growth of the process's peak memory over two steps, and
`recomputed` the same with `remat="block"`, which does not change XLA's numbers on a CPU. TensorFlow is left out, since it reuses freed
memory: its steps raise the peak by less than their gradients. Seconds are of steps in turns in one process on `KERAS_BACKEND`. Keras'
`enable_lora` uses the same projections and rank. The weights are random. Linux only.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import harness
import keras
import numpy as np
from loading import peak_growth

import vit_keras as vk
from vit_keras.training.losses.crossentropy import SmoothedCrossentropy
from vit_keras.training.optim.optimizers import AdamW
from vit_keras.training.transfer.freezing import set_trainable, trainable_params
from vit_keras.training.transfer.lora import add_lora

NUM_CLASSES = 10
MEGABYTE = 1e6
HANDS_BACK = {
    "MALLOC_MMAP_THRESHOLD_": "65536",
    "MALLOC_TRIM_THRESHOLD_": "65536",
}  # the C library returns freed memory


def train_only(what: str) -> Callable[[keras.Model], keras.Model]:
    """Returns a function that makes only these weights of a model trainable."""

    def change(model: keras.Model) -> keras.Model:
        set_trainable(model, what)
        return model

    return change


def keras_lora(model: keras.Model) -> keras.Model:
    """Adds Keras' own LoRA to the same projections; only it and the head are trainable."""
    set_trainable(model, "head")
    for layer in model.layers:
        if layer.name.startswith("block_"):
            attention, mlp = layer.attention, layer.mlp
            for dense in (attention.qkv, attention.output_projection, mlp.expand, mlp.contract):
                dense.enable_lora(8)
                dense.lora_kernel_a.trainable = dense.lora_kernel_b.trainable = True
    return model


METHODS: dict[str, Callable[[keras.Model], keras.Model]] = {
    "full": train_only("full"),
    "last_blocks": train_only("last_blocks"),
    "bias": train_only("bias"),
    "adapters": add_lora,
    "head": train_only("head"),
    "keras enable_lora": keras_lora,
}


Batch = tuple[np.ndarray, np.ndarray]


def prepare(method: str, options: argparse.Namespace) -> tuple[keras.Model, Batch]:
    """Returns a compiled model and a batch."""
    keras.utils.set_random_seed(0)
    model = METHODS[method](vk.from_preset(options.preset, num_classes=NUM_CLASSES, remat=options.remat))
    model.compile(AdamW(1e-3, weight_decay=0.05, global_clipnorm=1.0), SmoothedCrossentropy(0.1))
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (options.batch, *model.input_shape[1:])).astype("uint8")
    return model, (images, np.arange(options.batch) % NUM_CLASSES)


def jax_memory(model: keras.Model, batch: Batch) -> dict[str, float]:
    import jax

    model.train_on_batch(*batch)
    owners = (
        model.trainable_variables,
        model.non_trainable_variables,
        model.optimizer.variables,
        model.metrics_variables,
    )
    state = tuple([variable.value for variable in variables] for variables in owners)
    analysis = jax.jit(model.train_step, donate_argnums=0).lower(state, batch).compile().memory_analysis()
    arguments, temporary = analysis.argument_size_in_bytes, analysis.temp_size_in_bytes
    return {
        "state_mb": arguments / MEGABYTE,
        "temporary_mb": temporary / MEGABYTE,
        "peak_mb": (arguments + temporary) / MEGABYTE,
    }


def torch_memory(model: keras.Model, batch: Batch) -> dict[str, float]:
    """Returns the memory of the weights and of two steps, the first of which creates the optimizer's state."""

    def steps() -> None:
        for _ in range(2):
            model.train_on_batch(*batch)

    weights = 4 * model.count_params()  # float32
    return {"peak_mb": (weights + peak_growth(steps)) / MEGABYTE}


def memory(method: str, options: argparse.Namespace) -> dict[str, Any]:
    """Returns the memory of a step of one method in a fresh process."""
    of_jax = keras.backend.backend() == "jax"
    if not of_jax:  # loads libraries, which happens at the first step of any model
        small = vk.vit(
            vk.ViTConfig(image_size=32, patch_size=8, hidden_dim=64, num_layers=1, num_heads=2, mlp_dim=128),
            num_classes=2,
        )
        small.compile(AdamW(1e-3, global_clipnorm=1.0), SmoothedCrossentropy(0.1))
        small.train_on_batch(np.zeros((2, 32, 32, 3), "uint8"), np.arange(2))
    model, batch = prepare(method, options)
    found = jax_memory(model, batch) if of_jax else torch_memory(model, batch)
    return {"trained": trainable_params(model), "of": model.count_params(), **found}


def run_in_new_process(method: str, backend: str, remat: str = "none") -> dict[str, Any]:
    """Runs `memory` in a new process."""
    command = [sys.executable, *sys.argv, "--method", method, "--remat", remat]
    environment = {**os.environ, **HANDS_BACK, "KERAS_BACKEND": backend}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise SystemExit(f"{method} on {backend}: {done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def measure(method: str) -> dict[str, Any]:
    """Returns the memory of one method on JAX and torch."""
    on_jax = run_in_new_process(method, "jax")
    numbers = {name: on_jax.pop(name) for name in ("trained", "of")}
    torch, recomputed = (run_in_new_process(method, "torch", remat)["peak_mb"] for remat in ("none", "block"))
    return {**numbers, "jax": on_jax, "torch": {"peak_mb": torch, "recomputed_mb": recomputed}}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="vit_small_patch16_224")
    parser.add_argument("--batch", type=int, default=8, help="images")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--method", choices=sorted(METHODS), help=argparse.SUPPRESS)
    parser.add_argument("--remat", default="none", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.method:
        print(json.dumps(memory(options.method, options)))
        raise SystemExit
    rows = {method: measure(method) for method in METHODS}
    steps: dict[str, Callable[[], object]] = {}
    for method in METHODS:
        model, batch = prepare(method, options)
        steps[method] = lambda model=model, batch=batch: model.train_on_batch(*batch)
    seconds = harness.interleaved(steps, rounds=options.rounds)
    for method, row in rows.items():
        row["jax"]["peak_of_full"] = row["jax"]["peak_mb"] / rows["full"]["jax"]["peak_mb"]
        row["torch"]["peak_of_full"] = row["torch"]["peak_mb"] / rows["full"]["torch"]["peak_mb"]
        row["torch"]["recomputed_of_full"] = row["torch"]["recomputed_mb"] / rows["full"]["torch"]["peak_mb"]
        row["seconds"] = harness.spread(seconds[method])
        row["seconds_of_full"] = float(np.median(np.divide(seconds[method], seconds["full"])))
    harness.record(
        "adapters", {"preset": options.preset, "batch": options.batch, "rounds": options.rounds, "methods": rows}
    )
