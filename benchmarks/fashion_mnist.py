"""Test accuracy on Fashion-MNIST, from scratch, in a given time on this machine.

    python benchmarks/fashion_mnist.py --budget 300 [--seeds 3]

The clock runs from the start of the process's work: building, compiling and training are inside the budget, reading the
images and the final test are not. A short probe of the step time sizes the schedule; the model is chosen by the budget, on
the validation images alone. Needs the data set where `keras.datasets` finds it, or a network.
"""

import argparse
import time

import harness
import keras

import vit_keras as vk
from vit_keras.data import Augmentation
from vit_keras.training import recipes
from vit_keras.training.evaluation import evaluate
from vit_keras.training.precision import dtype_policy, resolve

PRESET, BATCH_SIZE = "vit_nano_conv8_32", 128
AUGMENTATION = Augmentation(flip_rate=0.5, shift=0.07, zoom=0.08, stretch=0.08, erase_rate=0.25)
PROBE_STEPS, SAFETY = 12, 0.97


def train(data: vk.data.ImageData, *, budget: float, seed: int) -> dict[str, object]:
    started = time.perf_counter()
    keras.utils.set_random_seed(seed)
    with dtype_policy(resolve("auto")):
        model = vk.from_preset(PRESET, num_classes=len(data.class_names), channels=1)
    start_weights = [keras.ops.copy(weight) for weight in model.weights]

    def compiled(steps: int) -> None:
        recipe = recipes.small_images(epochs=1, steps_per_epoch=steps)
        model.compile(**recipe.compile_arguments)

    compiled(PROBE_STEPS)
    batches = iter(data.training_batches(epochs=100_000, augmentation=AUGMENTATION))
    for _ in range(2):
        model.train_on_batch(*next(batches))
    probe = time.perf_counter()
    for _ in range(PROBE_STEPS):
        model.train_on_batch(*next(batches))
    step_seconds = (time.perf_counter() - probe) / PROBE_STEPS
    for weight, start in zip(model.weights, start_weights, strict=True):
        weight.assign(start)
    compile_seconds = probe - started  # training compiles once more
    steps = int(SAFETY * (budget - (time.perf_counter() - started) - compile_seconds) / step_seconds)
    compiled(steps)
    model.fit(
        data.training_batches(epochs=1 + steps // data.steps_per_epoch, augmentation=AUGMENTATION),
        epochs=1, steps_per_epoch=steps, shuffle=False, verbose=0,
    )  # fmt: skip
    seconds = time.perf_counter() - started
    return {
        "seed": seed,
        "seconds": seconds,
        "steps": steps,
        "epochs": steps / data.steps_per_epoch,
        "validation_accuracy": evaluate(model, data.splits["validation"]).accuracy,
        "test_accuracy": evaluate(model, data.splits["test"]).accuracy,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", type=float, default=300, help="seconds of wall clock")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    data = vk.data.load("fashion_mnist", image_size=32, batch_size=BATCH_SIZE)
    runs = []
    for seed in range(options.seeds):
        runs.append(train(data, budget=options.budget, seed=seed))
        print(runs[-1], flush=True)
    accuracies = [run["test_accuracy"] for run in runs]
    harness.record(
        f"fashion_mnist_{options.budget:.0f}s",
        {
            "preset": PRESET,
            "params": vk.preset_info(PRESET)["params"],
            "budget_seconds": options.budget,
            "mean_test_accuracy": sum(accuracies) / len(accuracies),
            "runs": runs,
        },
    )
