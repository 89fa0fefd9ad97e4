"""Seconds of whole processes: the command line beside the least scripts that do the same with typer, rich and plain Keras layers.

    python benchmarks/command_start.py [--rounds 5] [--quick]

Light commands are compared with `import typer, rich`; `predict` and `explain` with a script that imports Keras on TensorFlow, builds a
model of the same size from Keras' own layers, loads its weights, and predicts once; the demo, `vit-keras train`, with a script that trains
such a model on the same arrays, both until the end of the first training step. All run in turns, and each round gives one ratio or
difference, so that a change in the machine's load affects both. Processor time is user and system time of the process.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time

import harness
import numpy as np

LIGHT = {"--help": ["--help"], "list": ["list"], "info": ["info", "vit_small_patch16_224"], "recipes": ["recipes"]}
LEAST = {"predict": "plain Keras", "explain": "plain Keras", "train": "plain Keras, training"}
COMMAND = "from vit_keras.cli import main; main()"
LEAST_IMPORTS = "import typer, rich"
MODEL = """\
import os, sys
import keras
import numpy as np
layers = keras.layers
image = keras.Input((32, 32, 3))
tokens = layers.Rescaling(1 / 127.5, -1)(image)
for width in (64, 64, 128):
    tokens = layers.Conv2D(width, 3, strides=2, padding="same", activation="gelu")(tokens)
tokens = layers.Reshape((16, 128))(tokens)
for _ in range(4):
    normed = layers.LayerNormalization()(tokens)
    tokens = tokens + layers.MultiHeadAttention(4, 32)(normed, normed)
    hidden = layers.Dense(256, activation="gelu")(layers.LayerNormalization()(tokens))
    tokens = tokens + layers.Dense(128)(hidden)
tokens = layers.LayerNormalization()(tokens)
model = keras.Model(image, layers.Dense(int(sys.argv[1]))(layers.GlobalAveragePooling1D()(tokens)))
"""
PLAIN = f"""{MODEL}
from PIL import Image
weights, picture = sys.argv[2:]
if picture == "save":
    model.save_weights(weights)
else:
    model.load_weights(weights)
    pixels = np.asarray(Image.open(picture).convert("RGB").resize((32, 32)))
    print(model.predict(pixels[None].astype("float32"), verbose=0))
"""
PLAIN_TRAINING = f"""{MODEL}
keras.callbacks.CallbackList.on_train_batch_end = lambda *arguments, **given: os._exit(0)
data = np.load(sys.argv[2])
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile(keras.optimizers.AdamW(1e-3), loss, metrics=["accuracy"])
model.fit(data["images"], data["labels"], batch_size=int(data["batch_size"]), verbose=0)
"""
TRAINING = """\
import os
from vit_keras.cli import main
from vit_keras.cli.commands import train
start = train.start_backend
def start_and_watch(**given):
    start(**given)
    from vit_keras.training.runs.fitting import _CallbackList
    _CallbackList.on_train_batch_end = lambda *arguments, **given: os._exit(0)
train.start_backend = start_and_watch
main()
"""
SAVE = """\
import sys
import numpy as np
import vit_keras as vk
from PIL import Image
data = vk.data.load("emoji")
train = data.splits["train"]
np.savez(sys.argv[1] + "/data.npz", images=train.images, labels=train.labels, batch_size=data.batch_size)
model = vk.from_preset("vit_nano_conv8_32", num_classes=8)
vk.save_preset(model, sys.argv[1] + "/model", class_names=list("abcdefgh"))
Image.fromarray(np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)).save(sys.argv[1] + "/cat.jpg")
"""


def run(code: str, *arguments: str) -> dict[str, float]:
    """Returns the seconds of a Python program in a new process."""
    environment = os.environ | {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], check=False, env=environment, capture_output=True, text=True
    )
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    return {"wall": wall, "processor": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one round of the light commands")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        programs: dict[str, tuple[str, ...]] = {"least imports": (LEAST_IMPORTS,)}
        programs |= {name: (COMMAND, *words) for name, words in LIGHT.items()}
        if not options.quick:
            run(SAVE, folder)
            num_classes = str(len(set(np.load(f"{folder}/data.npz")["labels"].tolist())))
            run(PLAIN, "8", f"{folder}/plain.weights.h5", "save")
            model, picture = f"{folder}/model", f"{folder}/cat.jpg"
            drawn = ("--out", f"{folder}/explained.png", "--overwrite")
            programs |= {
                "plain Keras": (PLAIN, "8", f"{folder}/plain.weights.h5", picture),
                "predict": (COMMAND, "predict", model, picture),
                "explain": (COMMAND, "explain", model, picture, *drawn),
                "plain Keras, training": (PLAIN_TRAINING, num_classes, f"{folder}/data.npz"),
                "train": (TRAINING, "train", "--run-dir", f"{folder}/run", "--overwrite"),
            }
        found: dict[str, list[dict[str, float]]] = {name: [] for name in programs}
        for number in range(options.rounds + 1 if not options.quick else 1):
            for name, program in programs.items():
                seconds = run(*program)
                if number or options.quick:  # the first round fills the caches of files and bytecode
                    found[name].append(seconds)
    result: dict[str, dict[str, dict[str, float]]] = {"seconds": {}, "over_least_imports": {}, "over_plain_keras": {}}
    for kind in ("wall", "processor"):
        values = {name: [each[kind] for each in rounds] for name, rounds in found.items()}
        result["seconds"] |= {f"{name}, {kind}": harness.spread(each) for name, each in values.items()}
        for name in LIGHT:
            pairs = zip(values[name], values["least imports"], strict=True)
            result["over_least_imports"][f"{name}, {kind}"] = harness.spread([ours - least for ours, least in pairs])
        for name, least in LEAST.items() if not options.quick else ():
            pairs = zip(values[name], values[least], strict=True)
            result["over_plain_keras"][f"{name}, {kind}"] = harness.spread([ours / plain for ours, plain in pairs])
    harness.record("command_start", result, quick=options.quick)
