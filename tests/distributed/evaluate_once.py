"""Evaluates and predicts with the model of a directory, and saves it in all ways; a test runs it in one process and in several.

    python tests/distributed/evaluate_once.py PRESET IMAGES OUT DISTRIBUTION DEVICES

The processor appears as so many devices.
"""

import json
import os
import sys
from pathlib import Path

os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={sys.argv[5]}"

import keras
import numpy as np

import vit_keras as vk
from vit_keras.distributed.cluster import gather, is_chief, process_id
from vit_keras.distributed.devices import run_on, use_devices
from vit_keras.distributed.fsdp import FullySharded

PRESET, IMAGES, OUT, DISTRIBUTION = sys.argv[1:5]
FullySharded.__init__.__kwdefaults__["min_size"] = 64  # the model is tiny


def main():
    out, shared = Path(OUT), {"devices": "auto", "distribution": DISTRIBUTION}
    evaluation = vk.evaluate(PRESET, IMAGES, split="all", batch_size=5, out=out / "table.csv", **shared)
    rows = vk.predict(PRESET, IMAGES, batch_size=4, top=None, **shared)
    with run_on(**shared) as devices, use_devices(devices):
        keras.utils.set_random_seed(0)
        model = vk.load_model(PRESET)
        pixels = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3)).astype("uint8")
        share = len(pixels) // devices.process[1]
        first = devices.process[0] * share
        model.compile("sgd", "sparse_categorical_crossentropy")
        outputs = model.predict(pixels[first : first + share], batch_size=share, verbose=0)
        before = [weight.value.sharding for weight in model.weights] if devices.count > 1 else []
        for path in (out / "model.keras", out / "model.weights.h5"):
            (model.save if path.suffix == ".keras" else model.save_weights)(path)
        vk.save_preset(model, out / "preset")
        gather(None)  # all files are there
        if devices.count > 1:
            assert [weight.value.sharding for weight in model.weights] == before
        spread = sum(not weight.value.is_fully_replicated for weight in model.weights) if devices.count > 1 else 0
    found = {
        "probabilities": evaluation.probabilities.tolist(),
        "labels": evaluation.labels.tolist(),
        "summary": evaluation.summary(),
        "rows": [row.to_dict() for row in rows],
        "outputs": outputs.tolist(),
        "spread": spread,
        "devices": devices.count,
        "chief": is_chief(),
    }
    (out / f"found-{process_id()}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
