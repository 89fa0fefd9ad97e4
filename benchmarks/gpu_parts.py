"""The parts of `gpu.py`, each run in its own process, for its own memory peak and failures.

    KERAS_BACKEND=jax python benchmarks/gpu_parts.py PART [ARGUMENT ...]

Without a GPU every part runs small, only to show that it runs.
"""

import gzip
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import harness
import numpy as np
import speed_side

FLASH = "__cudnn$fmha"
CLASSES = speed_side.CLASSES
SHOWN_PEAK = {"NVIDIA H100 80GB HBM3": 989.4e12, "NVIDIA H200": 989.4e12}
"""Dense bfloat16 FLOP/s from the data sheets, without sparsity."""


def on_gpu() -> bool:
    import jax

    return jax.default_backend() == "gpu"


def made(preset: str, **changes: Any) -> Any:
    """Returns a compiled model in mixed_bfloat16, small without a GPU."""
    import keras

    import vit_keras as vk

    keras.config.set_dtype_policy("mixed_bfloat16")
    compiled = {name: changes.pop(name) for name in ("steps_per_execution",) if name in changes}
    if not on_gpu():
        small = {"image_size": 28 if "patch14" in preset else 32} if preset.endswith("224") else {}
        changes = {"num_layers": 1} | small | changes
    model = vk.from_preset(preset, num_classes=CLASSES, **changes)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(vk.training.AdamW(1e-4), loss, **compiled)
    return model


def batch_of(model: Any, batch_size: int) -> tuple[Any, Any]:
    """Returns images and labels on the device."""
    import jax

    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (batch_size, *model.input_shape[1:])).astype("uint8")
    return jax.device_put(images), jax.device_put(rng.integers(0, CLASSES, batch_size))


def timed(step: Callable[[], Any], rounds: int) -> dict[str, float]:
    """Returns the seconds of a step, waiting for its result, after three steps of compilation and warmup."""
    import jax

    seconds = []
    for turn in range(rounds + 3):
        began = time.perf_counter()
        jax.block_until_ready(step())
        if turn >= 3:
            seconds.append(time.perf_counter() - began)
    return harness.spread(seconds)


def bare_step(model: Any) -> Callable[..., Any]:
    """Returns a jitted step of the same model, loss and optimizer without Keras' trainer."""
    import jax

    def loss_of(trainable: Any, others: Any, images: Any, labels: Any) -> Any:
        logits, others = model.stateless_call(trainable, others, images, training=True)
        return model.loss(labels, logits), others

    def step(state: Any, images: Any, labels: Any) -> Any:
        trainable, others, optimizer = state
        (loss, others), gradients = jax.value_and_grad(loss_of, has_aux=True)(trainable, others, images, labels)
        trainable, optimizer = model.optimizer.stateless_apply(optimizer, gradients, trainable)
        return loss, (trainable, others, optimizer)

    return jax.jit(step, donate_argnums=0)


def state_of(model: Any) -> tuple[list[Any], ...]:
    """Returns copies of the model's and optimizer's variables, which a step may donate."""
    import jax.numpy as jnp

    model.optimizer.build(model.trainable_variables)
    kinds = (model.trainable_variables, model.non_trainable_variables, model.optimizer.variables)
    return tuple([jnp.array(variable.value) for variable in variables] for variables in kinds)


def memory() -> dict[str, float]:
    """Returns the peak memory of the device in bytes, if it reports one."""
    import jax

    stats = jax.local_devices()[0].memory_stats() or {}
    return {"peak_bytes": float(stats["peak_bytes_in_use"])} if "peak_bytes_in_use" in stats else {}


def device() -> dict[str, Any]:
    """Returns the device and the rate of its matrix products."""
    import jax

    kind = jax.devices()[0].device_kind
    rate = harness.matmul_rate("bfloat16", size=8192 if on_gpu() else 512) * 1e9
    return {"device": kind, "on_gpu": on_gpu(), "matmul_flops": rate, "shown_peak": SHOWN_PEAK.get(kind)}


def kernel(preset: str) -> dict[str, Any]:
    """Returns the chosen attention kernel, and whether cuDNN's flash attention is in the compiled training step."""
    import vit_keras as vk
    from vit_keras.layers.kernels.attention_kernel import attention_kernel

    model = made(preset)
    images, labels = batch_of(model, 8)
    text = bare_step(model).lower(state_of(model), images, labels).compile().as_text()
    config = vk.model_config(model)
    chosen = attention_kernel(
        num_tokens=config.num_tokens, num_heads=config.num_heads, head_dim=config.hidden_dim // config.num_heads, dtype="bfloat16",
        training=True,
    )  # fmt: skip
    return {
        "attention": asdict(chosen),
        "flash_attention_calls": text.count(FLASH),
        "donated": "input_output_alias" in text.partition("\n")[0],
    }


def rates(preset: str, batch_size: str, remat: str = "none") -> dict[str, Any]:
    """Returns images per second of the model's own steps, and the fraction of the device's peak."""
    import jax

    import vit_keras as vk

    model = made(preset, remat=remat)
    count = int(batch_size) if on_gpu() else 2
    images, labels = batch_of(model, count)
    rounds = 15 if on_gpu() else 2
    state, step = state_of(model), bare_step(model)
    holder = [state]

    def train() -> Any:
        loss, holder[0] = step(holder[0], images, labels)
        return loss

    weights = [
        [variable.value for variable in kind] for kind in (model.trainable_variables, model.non_trainable_variables)
    ]
    forward = jax.jit(lambda weights, images: model.stateless_call(*weights, images, training=False)[0])
    inference = timed(lambda: forward(weights, images), rounds)
    training = timed(train, rounds)
    flops = 2 * vk.model_config(model).num_macs * count
    return {
        "batch_size": count,
        "remat": remat,
        "inference": {"images_per_second": count / inference["median"], "flops": flops / inference["median"], **inference},
        "training": {"images_per_second": count / training["median"], "flops": 3 * flops / training["median"], **training},
        **memory(),
    }  # fmt: skip


def fit(preset: str, batch_size: str, steps_per_execution: str) -> dict[str, Any]:
    """Returns seconds per step of `model.fit` on data on the device and of the bare loop, in turns."""
    import jax
    import keras

    count, many = (int(batch_size), int(steps_per_execution)) if on_gpu() else (2, 2)
    model = made(preset, steps_per_execution=many)
    images, labels = batch_of(model, count)
    steps = (256 if count < 128 else 64) if on_gpu() else 4

    def batches() -> Iterator[Any]:
        while True:
            yield images, labels

    class Ends(keras.callbacks.Callback):
        """Records the time when an epoch has finished on the device."""

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.began = time.perf_counter()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            jax.block_until_ready([variable.value for variable in self.model.trainable_variables])
            seconds["fit"].append((time.perf_counter() - self.began) / steps)

    seconds: dict[str, list[float]] = {"fit": [], "bare": []}
    step, state = bare_step(model), state_of(model)
    for _ in range(4):
        model.fit(batches(), steps_per_epoch=steps, epochs=1, verbose=0, callbacks=[Ends()])
        began = time.perf_counter()
        for _ in range(steps):
            loss, state = step(state, images, labels)
        jax.block_until_ready(loss)
        seconds["bare"].append((time.perf_counter() - began) / steps)
    medians = {name: float(np.median(values[1:])) for name, values in seconds.items()}
    return {
        "batch_size": count,
        "steps_per_execution": many,
        "seconds_a_step": {name: harness.spread(values[1:]) for name, values in seconds.items()},
        "fit_of_bare": medians["fit"] / medians["bare"],
        "images_per_second": count / medians["fit"],
    }


def tokens(count: str) -> dict[str, Any]:
    """Returns the peak memory of a training step of ViT-S blocks by number of tokens."""
    import math

    side = 16 * math.isqrt(int(count) if on_gpu() else 16)
    model = made("vit_small_patch16_224", image_size=side, num_layers=4, class_token=False, pooling="mean")
    images, labels = batch_of(model, 4)
    step, state = bare_step(model), state_of(model)
    compiled = step.lower(state, images, labels).compile()
    analysis = compiled.memory_analysis()
    return {"tokens": int(count), "temporary_bytes": float(analysis.temp_size_in_bytes), **memory()}


def cold(preset: str) -> dict[str, Any]:
    """Returns the seconds to the first trained batch."""
    began = time.perf_counter()
    model = made(preset)
    images, labels = batch_of(model, 8)
    model.train_on_batch(images, labels)
    return {"seconds": time.perf_counter() - began}


def timm(preset: str, batch_size: str) -> dict[str, Any]:
    """Times timm's model, compiled, in bfloat16 autocast with fused AdamW."""
    import timm as library
    import torch

    place = "cuda" if torch.cuda.is_available() else "cpu"
    count, setting = (int(batch_size), "compiled") if place == "cuda" else (2, "eager")
    torch.set_float32_matmul_precision("high")
    found: dict[str, Any] = {"batch_size": count, "version": library.__version__}
    for kind in ("training", "inference"):
        model = library.create_model(preset, num_classes=CLASSES, **({} if place == "cuda" else {"depth": 1}))
        step = speed_side.torch_step(model, kind, "bfloat16", count, setting, lambda output: output, place)
        seconds = []
        for turn in range(18 if place == "cuda" else 4):
            began = time.perf_counter()
            step()  # returns a number, which waits for the device
            if turn >= 3:
                seconds.append(time.perf_counter() - began)
        spread = harness.spread(seconds)
        found[kind] = {"images_per_second": count / spread["median"], **spread}
    return found


def fashion_mnist(folder: str) -> dict[str, Any]:
    """Trains a preset with `model.fit` and its recipe."""
    import vit_keras as vk

    def read(name: str, skip: int) -> np.ndarray:
        return np.frombuffer(gzip.open(Path(folder) / name).read(), "uint8", offset=skip)

    most, epochs = (60_000, 10) if on_gpu() else (2_560, 1)
    images = {
        part: read(f"{part}-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28, 1)[:most] for part in ("train", "t10k")
    }
    labels = {part: read(f"{part}-labels-idx1-ubyte.gz", 8).astype("int32")[:most] for part in images}
    recipe = vk.recipes.small_images.unsized(epochs=epochs, steps_per_epoch=most // 256)
    model = vk.from_preset("vit_micro_conv4_28", num_classes=10)
    model.compile(**recipe.compile_kwargs())
    began = time.perf_counter()
    model.fit(images["train"], labels["train"], batch_size=256, epochs=epochs, callbacks=recipe.callbacks(), verbose=0)
    seconds = time.perf_counter() - began
    _, accuracy = model.evaluate(images["t10k"], labels["t10k"], batch_size=500, verbose=0)
    return {"epochs": epochs, "seconds": seconds, "test_accuracy": float(accuracy)}


PARTS: dict[str, Callable[..., dict[str, Any]]] = {
    "device": device, "kernel": kernel, "rates": rates, "fit": fit, "tokens": tokens, "cold": cold, "timm": timm,
    "fashion_mnist": fashion_mnist,
}  # fmt: skip

if __name__ == "__main__":
    print(json.dumps(PARTS[sys.argv[1]](*sys.argv[2:])))
