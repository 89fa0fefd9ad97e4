"""Images a second of a ViT beside KerasHub's of the same shape, in turns.

    pip install keras-hub
    python benchmarks/speed.py [--rounds 8] [--batch-size 16] [--num-layers 12]

Inference and training step, float32 and mixed_bfloat16, each model with XLA on and off; the ratio is between their better
settings. Whole steps of `train_on_batch` and `predict_on_batch` with AdamW, on pixels in memory. Without KerasHub ours are
timed alone.
"""

import argparse
from collections.abc import Callable

import harness
import keras
import numpy as np

import vit_keras as vk

CLASSES = 1000


def ours(num_layers: int) -> keras.Model:
    return vk.from_preset("vit_small_patch16_224", num_classes=CLASSES, num_layers=num_layers)


def kerashub(num_layers: int) -> keras.Model:
    from keras_hub.models import ViTBackbone, ViTImageClassifier

    backbone = ViTBackbone(
        image_shape=(224, 224, 3), patch_size=16, num_layers=num_layers, num_heads=6, hidden_dim=384, mlp_dim=1536
    )
    return ViTImageClassifier(backbone, num_classes=CLASSES, preprocessor=None)


def peers() -> dict[str, Callable[[int], keras.Model]]:
    try:
        import keras_hub  # noqa: F401
    except ImportError:
        print("KerasHub is not installed: ours are timed alone.")
        return {"vit_keras": ours}
    return {"vit_keras": ours, "keras_hub": kerashub}


def steps(policy: str, kind: str, batch_size: int, num_layers: int) -> dict[str, Callable[[], object]]:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (batch_size, 224, 224, 3)).astype("float32")
    labels = rng.integers(0, CLASSES, batch_size)
    made: dict[str, Callable[[], object]] = {}
    keras.config.set_dtype_policy(policy)
    for name, build in peers().items():
        for xla in (False, True):
            model = build(num_layers)
            loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
            model.compile(optimizer=keras.optimizers.AdamW(1e-4), loss=loss, jit_compile=xla)
            key = f"{name}, XLA {'on' if xla else 'off'}"
            if kind == "training":
                made[key] = lambda model=model: model.train_on_batch(images, labels)
            else:
                made[key] = lambda model=model: model.predict_on_batch(images)
    keras.config.set_dtype_policy("float32")
    return made


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--num-layers", type=int, default=12, help="fewer for a quick look")
    options = parser.parse_args()
    result = {}
    for policy in ("float32", "mixed_bfloat16"):
        for kind in ("inference", "training"):
            seconds = harness.interleaved(
                steps(policy, kind, options.batch_size, options.num_layers), rounds=options.rounds
            )
            rates = {
                name: harness.spread([options.batch_size / value for value in times]) for name, times in seconds.items()
            }
            best = {
                peer: max((name for name in rates if name.startswith(peer)), key=lambda name: rates[name]["median"])
                for peer in {name.split(",")[0] for name in rates}
            }
            row: dict[str, object] = {"images_per_second": rates, "best": best}
            if "keras_hub" in best:
                pairs = zip(seconds[best["keras_hub"]], seconds[best["vit_keras"]], strict=True)
                row["ratio_to_keras_hub"] = harness.spread([theirs / our for theirs, our in pairs])
            result[f"{kind}, {policy}"] = row
            keras.utils.clear_session()
            print(kind, policy, row, flush=True)
    result["matmul_gflops"] = {dtype: harness.matmul_rate(dtype) for dtype in ("float32", "bfloat16")}
    harness.record(
        "speed_small_patch16_224",
        {"batch_size": options.batch_size, "num_layers": options.num_layers, "results": result},
    )
