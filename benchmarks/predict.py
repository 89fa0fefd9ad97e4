"""What `vk.predict` takes on 1,000 arrays of any size, compared with `model.predict` on the same arrays resized before.

    python benchmarks/predict.py [--preset vit_nano_conv8_96] [--images 1000] [--rounds 5]

Both take turns, each with batches of 64. The goal is a ratio of at most 1.3: reading, resizing and naming the classes of images of
120x160 px should cost little beside the model.
"""

import argparse

import harness
import numpy as np

import vit_keras as vk
from vit_keras.data.images.preprocess import to_image, to_pixels
from vit_keras.zoo.load_model import open_model

GOAL = 1.3

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="vit_nano_conv8_96")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    model = vk.from_preset(options.preset, num_classes=10)
    arrays = np.random.default_rng(0).integers(0, 256, (options.images, 120, 160, 3)).astype("uint8")
    preprocessing = open_model(model).preprocessing
    resized = np.stack([to_pixels(preprocessing.apply(to_image(array))) for array in arrays])
    seconds = harness.interleaved(
        {
            "vk.predict": lambda: vk.predict(model, arrays, batch_size=64),
            "model.predict": lambda: model.predict(resized, batch_size=64, verbose=0),
        },
        rounds=options.rounds,
    )
    ratios = [ours / plain for ours, plain in zip(seconds["vk.predict"], seconds["model.predict"], strict=True)]
    harness.record(
        "predict",
        {
            "preset": options.preset,
            "images": options.images,
            "seconds": {name: harness.spread(values) for name, values in seconds.items()},
            "ratio": harness.spread(ratios),
            "goal": GOAL,
        },
    )
