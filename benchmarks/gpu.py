"""Everything that needs a GPU, in one command: attention kernel, images a second, a preset trained.

    KERAS_BACKEND=jax python benchmarks/gpu.py [--batch-size 128] [--fashion-mnist FOLDER]

JAX backend, mixed_bfloat16, no TensorFlow needed. Says whether cuDNN's flash attention is in the compiled training step,
times inference and training of S/16 and B/16 on data in memory, and trains a small preset on Fashion-MNIST through
`model.fit` where its four files are. On a machine without a GPU it runs small and says so.
"""

import argparse
import gzip
from pathlib import Path
from typing import Any

import harness
import jax
import keras
import numpy as np

import vit_keras as vk

FLASH = "__cudnn$fmha"
PEAK_NOTE = "share of the bfloat16 matrix product rate measured in this run"


def compiled_text(model: keras.Model, images: np.ndarray) -> str:
    """Returns the compiled program of a gradient, as text."""

    def loss(trainable: Any, others: Any) -> Any:
        outputs, _ = model.stateless_call(trainable, others, images, training=True)
        return outputs.astype("float32").sum()

    values = [
        [weight.value for weight in weights] for weights in (model.trainable_variables, model.non_trainable_variables)
    ]
    return jax.jit(jax.grad(loss)).lower(*values).compile().as_text()


def rates(name: str, batch_size: int, peak: float, **changes: Any) -> dict[str, Any]:
    model = vk.from_preset(name, num_classes=1000, **changes)
    config = vk.config_of(model)
    rng = np.random.default_rng(0)
    images = jax.device_put(rng.integers(0, 256, (batch_size, *config.image_size, 3)).astype("float32"))
    labels = jax.device_put(rng.integers(0, 1000, batch_size))
    model.compile("adamw", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    steps = {
        "inference": lambda: model.predict_on_batch(images),
        "training": lambda: model.train_on_batch(images, labels),
    }
    seconds = harness.interleaved(steps, rounds=20, warmup=3)
    found: dict[str, Any] = {"flash_attention": FLASH in compiled_text(model, images)}
    for kind, times in seconds.items():
        per_second = harness.spread([batch_size / value for value in times])
        flops = 2 * config.num_macs * (3 if kind == "training" else 1) * per_second["median"]
        found[kind] = {"images_per_second": per_second, "share_of_matmul_rate": flops / 1e9 / peak}
    return found


def fashion_mnist(folder: Path, epochs: int) -> dict[str, Any]:
    def read(name: str, skip: int) -> np.ndarray:
        return np.frombuffer(gzip.open(folder / name).read(), "uint8", offset=skip)

    images = {part: read(f"{part}-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28, 1) for part in ("train", "t10k")}
    labels = {part: read(f"{part}-labels-idx1-ubyte.gz", 8).astype("int32") for part in images}
    recipe = vk.recipes.small_images(epochs=epochs, steps_per_epoch=60_000 // 256)
    model = vk.from_preset("vit_micro_conv4_28", num_classes=10)
    model.compile(**recipe.compile_arguments)
    history = model.fit(
        images["train"], labels["train"], batch_size=256, epochs=epochs, callbacks=recipe.callbacks, verbose=2
    )
    _, accuracy = model.evaluate(images["t10k"], labels["t10k"], batch_size=500, verbose=0)
    return {"epochs": epochs, "test_accuracy": float(accuracy), "training_loss": history.history["loss"][-1]}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--fashion-mnist", type=Path, help="folder with the four .gz files")
    options = parser.parse_args()
    on_gpu = jax.default_backend() == "gpu"
    keras.config.set_dtype_policy("mixed_bfloat16")
    peak = harness.matmul_rate("bfloat16", size=8192 if on_gpu else 1024)
    small = {} if on_gpu else {"num_layers": 1, "image_size": 64}
    batch_size = options.batch_size if on_gpu else 2
    result: dict[str, Any] = {"on_gpu": on_gpu, "batch_size": batch_size, "matmul_gflops": peak, "share_is": PEAK_NOTE}
    for name in ("vit_small_patch16_224", "vit_base_patch16_224"):
        result[name] = rates(name, batch_size, peak, **small)
    if options.fashion_mnist:
        result["fashion_mnist"] = fashion_mnist(options.fashion_mnist, epochs=10 if on_gpu else 1)
    harness.record(f"gpu_{jax.devices()[0].device_kind.replace(' ', '_').lower()}", result)
