"""A `.keras` file loads in a new process that imports Keras and vit_keras, in either order, and trains on."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import oracle
import pytest
from backends import only_elsewhere
from contracts import JIT

import vit_keras as vk

CONFIG = vk.ViTConfig(image_size=16, patch_size=8, hidden_dim=8, num_layers=1, num_heads=2, mlp_dim=16)
IMAGES = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3)).astype("float32")
LABELS = np.arange(8) % 3
PACKAGE = Path(vk.__file__).parent
RECIPES = {
    "muon": vk.recipes.small_images.unsized(epochs=2, steps_per_epoch=4),
    "lamb": vk.recipes.deit3.unsized(epochs=2, steps_per_epoch=4),
    "adamw": vk.recipes.finetune.unsized(epochs=2, steps_per_epoch=4, layer_decay=0.75, schedule="linear"),
}
EXACT = {
    "exact_dropping": CONFIG.replace(
        dropout_rate=0.1, attention_dropout_rate=0.2, stochastic_depth_rate=0.3, position_embedding="sincos2d"
    ),
    "exact_conv": CONFIG.replace(stem="conv", pooling="map", class_token=False, layer_scale=1e-5, remat="block"),
}
OTHER_BLOCKS = {
    "aimv2": {"norm": "rms", "patch_norm": True, "projection_bias": False, "gated_mlp": True},
    "beit": {"relative_position": "table", "block_norm": "after"},
    "shared": {"relative_position": "mlp", "relative_position_shared": True, "relative_position_dim": 4},
    "differential": {"differential_attention": True},
}
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
    "configs": {},
}
images, labels = np.load("images.npy"), np.load("labels.npy")
for name in sys.argv[1:]:
    model = keras.saving.load_model(f"{name}.keras")
    counts = [type(model).__name__, len(model.weights), len(model.trainable_weights)]
    if name.startswith("exact"):
        np.save(f"{name}.npy", keras.ops.convert_to_numpy(model(images)))
        found["configs"][name] = vit_keras.model_config(model).to_dict()
    if model.compiled:
        optimizer = model.optimizer
        counts += [type(optimizer).__name__, int(optimizer.iterations)]
    if model.compiled and new:  # of the first process: the second one only loads it
        counts += model.evaluate(images, labels, verbose=0, return_dict=True).values()
        counts += [model.fit(images, labels, verbose=0).history["loss"][0], int(optimizer.iterations)]
    found["models"][name] = counts
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """A folder of saved models, the numbers of each, and the outputs of those whose outputs are compared."""
    folder, counts = tmp_path_factory.mktemp("saved"), {}
    np.save(folder / "images.npy", IMAGES)
    np.save(folder / "labels.npy", LABELS)
    exact = {
        name: oracle.randomize(vk.vit(config, num_classes=3, classifier_activation="softmax"))
        for name, config in EXACT.items()
    }
    models = {name: vk.vit(CONFIG, num_classes=3) for name in only_elsewhere(RECIPES, "muon", "adamw")}
    for name, model in models.items():
        model.compile(**RECIPES[name].compile_kwargs(), run_eagerly=not JIT, jit_compile=JIT)
        model.fit(IMAGES, LABELS, batch_size=4, verbose=0)
    models["adapted"] = vk.training.add_lora(vk.vit(CONFIG, num_classes=3), rank=2)
    distilled = vk.vit(CONFIG.replace(distillation_token=True), num_classes=3)
    models["student"] = vk.training.Distillation(distilled, vk.vit(CONFIG, num_classes=3))
    models |= {name: vk.vit(CONFIG.replace(**changes), num_classes=3) for name, changes in OTHER_BLOCKS.items()}
    for name, model in (models | exact).items():
        model.save(folder / f"{name}.keras")
        counts[name] = [type(model).__name__, len(model.weights), len(model.trainable_weights)]
        if model.compiled:
            counts[name] += [type(model.optimizer).__name__, int(model.optimizer.iterations)]
            counts[name] += model.evaluate(IMAGES, LABELS, verbose=0, return_dict=True).values()
    return folder, counts, {name: keras.ops.convert_to_numpy(model(IMAGES)) for name, model in exact.items()}


@pytest.fixture(scope="module")
def found(expected):
    """The output of a process that imports one of the two libraries first, by import order."""
    folder, counts, _ = expected
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(PACKAGE.parent), os.environ.get("PYTHONPATH", "")])}
    models = {"keras_first": list(counts), "keras_last": ["muon"]}
    processes = {
        order: subprocess.Popen(
            [sys.executable, "-c", imports + IN_THE_NEW_PROCESS, *models[order]],
            cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for order, imports in IMPORTS.items()
        if order in only_elsewhere(IMPORTS, "keras_first")
    }  # fmt: skip
    outputs = {order: process.communicate() for order, process in processes.items()}
    for order, process in processes.items():
        assert process.returncode == 0, outputs[order][1][-3000:]
    return {order: json.loads(out.splitlines()[-1]) for order, (out, _) in outputs.items()}


def check_trains_on(theirs, mine):
    *state, their_accuracy, their_loss, trained, iterations = theirs
    assert [*state, iterations] == [*mine[:5], mine[4] + 1]
    assert [their_accuracy, their_loss] == pytest.approx(mine[5:], rel=1e-5)
    assert np.isfinite(trained)


def test_every_model_loads_and_evaluates_and_trains_on_if_it_is_compiled(expected, found):
    for name, counts in expected[1].items():
        if name in RECIPES:
            check_trains_on(found["keras_first"]["models"][name], counts)
            assert counts[3].lower() == name
        else:
            assert found["keras_first"]["models"][name] == counts
    for order in found.keys() - {"keras_first"}:
        assert found[order]["models"]["muon"] == expected[1]["muon"][:5]


def test_outputs_and_configs_are_the_same_bit_for_bit(expected, found):
    folder, _, outputs = expected
    for name, config in EXACT.items():
        np.testing.assert_array_equal(np.load(folder / f"{name}.npy"), outputs[name])
        assert vk.ViTConfig.from_dict(found["keras_first"]["configs"][name]) == config


def test_every_class_that_a_file_can_name_is_registered_without_importing_more(found):
    declared = {
        f"vit_keras>{registered or name}"
        for path in PACKAGE.rglob("*.py")
        for registered, name in re.findall(DECLARED, path.read_text())
    }
    for each in found.values():
        assert declared == set(each["registered"]) >= {"vit_keras>Muon", "vit_keras>SmoothedCrossentropy"}
        assert "vit_keras" not in each["finders"]  # the import hook is gone
    assert set(found["keras_first"]["new"]) <= {"vit_keras", "keras", "lazy_loader"}


FIRST = """
import importlib, sys
for first in sys.argv[1:]:
    importlib.import_module(first)
    import keras
    print(*keras.saving.get_custom_objects())
    for name in [name for name in sys.modules if name.partition(".")[0] in ("keras", "vit_keras")]:
        del sys.modules[name]
"""


@pytest.mark.any_backend
def test_any_module_can_be_imported_first():
    modules = ["vit_keras.layers", "vit_keras.models.own_head", "vit_keras.training.optim.kernels"]
    environment = os.environ | {"KERAS_BACKEND": "numpy"}  # the fastest to import
    command = [sys.executable, "-c", FIRST, *modules]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    registered = {name for name in keras.saving.get_custom_objects() if name.startswith("vit_keras>")}
    found = [set(line.split()) for line in done.stdout.splitlines()]
    assert len(found) == len(modules)
    assert all(each >= registered for each in found)
