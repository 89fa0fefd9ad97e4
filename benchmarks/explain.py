"""What looking inside costs: one block's attention maps beside a forward pass, and not looking beside a model nobody looked into.

    python benchmarks/explain.py [--preset vit_base_patch16_224] [--batch 4] [--rounds 9]

`forward` is the model called eagerly, as `attention_maps` calls it, and `predict` its compiled pass; `maps` the last block's maps of all
heads, `all` those of every block, `rollout` and `relevance` what they say. All take turns. `untouched` says whether the compiled function
of `predict` is the same object, traced as often, after all of that.
"""

import argparse
from collections.abc import Callable

import harness
import keras
import numpy as np

import vit_keras as vk

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="vit_base_patch16_224")
    parser.add_argument("--batch", type=int, default=4, help="images")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    keras.utils.set_random_seed(0)
    model = vk.from_preset(options.preset, num_classes=10)
    images = np.random.default_rng(0).integers(0, 256, (options.batch, *model.input_shape[1:])).astype("uint8")
    model.predict_on_batch(images)
    function = model.predict_function
    work: dict[str, Callable[[], object]] = {
        "forward": lambda: keras.ops.convert_to_numpy(model(images, training=False)),
        "predict": lambda: model.predict_on_batch(images),
        "maps": lambda: vk.explain.attention_maps(model, images, layers=-1, batch_size=options.batch),
        "all": lambda: vk.explain.attention_maps(model, images, batch_size=options.batch),
        "rollout": lambda: vk.explain.attention_rollout(model, images, batch_size=options.batch),
        "relevance": lambda: vk.explain.class_relevance(model, images, batch_size=options.batch),
    }
    seconds = harness.interleaved(work, rounds=options.rounds)
    medians = {name: float(np.median(values)) for name, values in seconds.items()}
    harness.record(
        "explain",
        {
            "preset": options.preset,
            "batch": options.batch,
            "rounds": options.rounds,
            "seconds": {name: harness.spread(values) for name, values in seconds.items()},
            "of_a_forward_pass": {name: value / medians["forward"] for name, value in medians.items()},
            "of_a_compiled_pass": {name: value / medians["predict"] for name, value in medians.items()},
            "untouched": model.predict_function is function,
        },
    )
