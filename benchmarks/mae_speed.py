"""Training steps of a masked autoencoder compared with supervised steps of the same encoder.

    python benchmarks/mae_speed.py [--preset vit_small_patch16_224] [--batch-size 16] [--rounds 9] [--quick]

`compile` defaults, float32, AdamW, `train_on_batch` on random pixels in memory, in turns. Where other programs share the processor, its time
says more than the clock: both are recorded, and the ratio is that of processor seconds.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import harness
import numpy as np

import vit_keras as vk
from vit_keras.pretraining import MaskedAutoencoder

CLASSES = 1000


def measure(steps: dict[str, Callable[[], object]], rounds: int) -> dict[str, dict[str, list[float]]]:
    """Returns clock seconds and processor seconds per round of each step, run in turns."""
    processor: dict[str, list[float]] = {name: [] for name in steps}

    def timed(name: str) -> Callable[[], object]:
        def run() -> None:
            start = time.process_time()
            steps[name]()
            processor[name].append(time.process_time() - start)

        return run

    warmup = 2
    clock = harness.interleaved({name: timed(name) for name in steps}, rounds=rounds, warmup=warmup)
    return {name: {"clock": clock[name], "processor": processor[name][warmup:]} for name in steps}


def measured(preset: str, batch_size: int, rounds: int, mask_ratio: float) -> dict[str, Any]:
    """Returns the rates of both steps, and how much faster that of the masked autoencoder is."""
    supervised = harness.keras_steps(vk.from_preset(preset, num_classes=CLASSES), batch_size)["training"]
    model = MaskedAutoencoder(vk.from_preset(preset), mask_ratio=mask_ratio)
    model.compile(vk.training.AdamW(1e-4))
    images = np.random.default_rng(0).integers(0, 256, (batch_size, *model.config.image_shape)).astype("float32")
    seconds = measure({"supervised": supervised, "mae": lambda: model.train_on_batch(images)}, rounds)
    rates = {
        name: {kind: harness.spread([batch_size / value for value in values]) for kind, values in found.items()}
        for name, found in seconds.items()
    }
    ratios = {
        kind: harness.spread([a / b for a, b in zip(seconds["supervised"][kind], seconds["mae"][kind], strict=True)])
        for kind in ("clock", "processor")
    }
    decoder = model.decoder
    return {
        "preset": preset,
        "batch_size": batch_size,
        "visible_patches": model.num_visible,
        "patches": model.config.num_patches,
        "decoder": {"dim": decoder.dim, "num_layers": decoder.num_layers, "num_heads": decoder.num_heads},
        "images_per_second": rates,
        "mae_is_faster": ratios,
        "unreliable": [name for name, found in rates.items() if harness.is_unsteady(found["processor"])],
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="vit_small_patch16_224")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--mask-ratio", type=float, default=0.75)
    parser.add_argument("--quick", action="store_true", help="one round of a small model")
    options = parser.parse_args()
    preset, rounds = ("vit_nano_patch4_32", 1) if options.quick else (options.preset, options.rounds)
    load = harness.load()
    cell = measured(preset, options.batch_size, rounds, options.mask_ratio)
    harness.record("mae_speed", {"load_per_core": load, **cell}, quick=options.quick)
