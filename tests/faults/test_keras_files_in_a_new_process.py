"""A `.keras` file loads in a new process that imports Keras and vit_keras, in either order, and trains on."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from contracts import JIT

import vit_keras as vk

CONFIG = vk.ViTConfig(image_size=16, patch_size=8, hidden_dim=8, num_layers=1, num_heads=2, mlp_dim=16)
IMAGES = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3)).astype("float32")
LABELS = np.arange(8) % 3
PACKAGE = Path(vk.__file__).parent
RECIPES = {
    "adamw": vk.recipes.finetune.unsized(epochs=2, steps_per_epoch=4, layer_decay=0.75),
    "muon": vk.recipes.small_images.unsized(epochs=2, steps_per_epoch=4),
    "lion": vk.recipes.small_images.unsized(epochs=2, steps_per_epoch=4, optimizer="lion", schedule="linear"),
    "lamb": vk.recipes.deit3.unsized(epochs=2, steps_per_epoch=4),
    "sgd": vk.recipes.vit_paper_finetune.unsized(epochs=2, steps_per_epoch=4, warmup_rate=0.5, schedule="constant"),
}
if JIT:  # JAX compiles four steps for each; registration does not depend on the backend
    RECIPES = {name: RECIPES[name] for name in ("muon", "lamb")}
IMPORTS = {
    "keras_first": "import json, sys, keras; before = set(sys.modules); import vit_keras; new = set(sys.modules) - before",
    # TensorFlow also probes for Keras long before it imports it.
    "keras_last": "import json, sys, vit_keras, importlib.util; importlib.util.find_spec('keras'); import keras; new = {}",
}
DECLARED = re.compile(r'register_keras_serializable\(package="vit_keras"(?:, name="(\w+)")?\)\nclass (\w+)')
IN_THE_NEW_PROCESS = """
import numpy as np
found = {
    "registered": sorted(keras.saving.get_custom_objects()),
    "new": sorted({name.partition(".")[0] for name in new} - sys.stdlib_module_names),
    "finders": [type(finder).__module__ for finder in sys.meta_path],
    "models": {},
}
for name in sys.argv[1:]:
    model = keras.saving.load_model(f"{name}.keras")
    counts = [len(model.weights), len(model.trainable_weights)]
    if model.compiled:
        images, labels, optimizer = np.load("images.npy"), np.load("labels.npy"), model.optimizer
        counts += [type(optimizer).__name__, int(optimizer.iterations)]
        counts += model.evaluate(images, labels, verbose=0, return_dict=True).values()
        counts += [model.fit(images, labels, verbose=0).history["loss"][0], int(optimizer.iterations)]
    found["models"][name] = counts
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """A folder of saved models, and the numbers of each."""
    folder, counts = tmp_path_factory.mktemp("saved"), {}
    np.save(folder / "images.npy", IMAGES)
    np.save(folder / "labels.npy", LABELS)
    models = {name: vk.vit(CONFIG, num_classes=3) for name in RECIPES}
    for name, recipe in RECIPES.items():
        models[name].compile(**recipe.compile_kwargs(), run_eagerly=not JIT, jit_compile=JIT)
        models[name].fit(IMAGES, LABELS, batch_size=4, verbose=0)
    models["adapted"] = vk.training.add_lora(vk.vit(CONFIG, num_classes=3), rank=2)
    distilled = vk.vit(CONFIG.replace(distillation_token=True), num_classes=3)
    models["student"] = vk.training.Distillation(distilled, vk.vit(CONFIG, num_classes=3))
    for name, model in models.items():
        model.save(folder / f"{name}.keras")
        counts[name] = [len(model.weights), len(model.trainable_weights)]
        if model.compiled:
            counts[name] += [type(model.optimizer).__name__, int(model.optimizer.iterations)]
            counts[name] += model.evaluate(IMAGES, LABELS, verbose=0, return_dict=True).values()
    return folder, counts


@pytest.fixture(scope="module")
def found(expected):
    """The output of a process that imports one of the two libraries first, by import order."""
    folder, counts = expected
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(PACKAGE.parent), os.environ.get("PYTHONPATH", "")])}
    models = {"keras_first": list(counts), "keras_last": ["muon"]}
    processes = {
        order: subprocess.Popen(
            [sys.executable, "-c", imports + IN_THE_NEW_PROCESS, *models[order]],
            cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for order, imports in IMPORTS.items()
    }  # fmt: skip
    outputs = {order: process.communicate() for order, process in processes.items()}
    for order, process in processes.items():
        assert process.returncode == 0, outputs[order][1][-3000:]
    return {order: json.loads(out.splitlines()[-1]) for order, (out, _) in outputs.items()}


def check_trains_on(theirs, mine):
    *state, their_accuracy, their_loss, trained, iterations = theirs
    assert [*state, iterations] == [*mine[:4], mine[3] + 1]
    assert [their_accuracy, their_loss] == pytest.approx(mine[4:], rel=1e-5)
    assert np.isfinite(trained)


@pytest.mark.parametrize("name", RECIPES)
def test_a_model_compiled_with_each_optimizer_evaluates_and_trains_on(name, expected, found):
    check_trains_on(found["keras_first"]["models"][name], expected[1][name])
    assert expected[1][name][2].lower() == name


@pytest.mark.parametrize("name", ["adapted", "student"])
def test_a_model_with_lora_and_a_student_load(name, expected, found):
    assert found["keras_first"]["models"][name] == expected[1][name]


def test_it_loads_if_keras_is_imported_last(expected, found):
    check_trains_on(found["keras_last"]["models"]["muon"], expected[1]["muon"])


@pytest.mark.parametrize("order", IMPORTS)
def test_every_class_that_a_file_can_name_is_registered(order, found):
    declared = {
        f"vit_keras>{registered or name}"
        for path in PACKAGE.rglob("*.py")
        for registered, name in re.findall(DECLARED, path.read_text())
    }
    assert declared == set(found[order]["registered"]) >= {"vit_keras>Muon", "vit_keras>SmoothedCrossentropy"}


def test_registering_imports_no_other_package(found):
    assert set(found["keras_first"]["new"]) <= {"vit_keras", "keras", "lazy_loader"}


@pytest.mark.parametrize("order", IMPORTS)
def test_the_import_hook_is_gone(order, found):
    assert "vit_keras" not in found[order]["finders"]


@pytest.mark.parametrize(
    "module",
    [
        "layers",
        "models.own_head",
        "training.losses.crossentropy",
        "training.optim.kernels",
        "training.callbacks.moving_average",
    ],
)
def test_any_module_can_be_imported_first(module):
    code = f"import vit_keras.{module}, keras; print(*keras.saving.get_custom_objects())"
    environment = os.environ | {"KERAS_BACKEND": "numpy"}  # the fastest to import
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    assert set(done.stdout.split()) >= {
        name for name in keras.saving.get_custom_objects() if name.startswith("vit_keras>")
    }
