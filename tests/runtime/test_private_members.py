"""Private members of Keras, keras-tuner and torch that the package uses: one table, checked against the installed versions.

A row says what the member is needed for and why no public one does. Seen in Keras 3.15.1, keras-tuner 1.4.8 and torch 2.13.0; a
failure here names what an upgrade changed.
"""

import ast
import importlib
import importlib.metadata
import inspect
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

import keras
import keras_tuner
import numpy as np
import pytest
from keras.src.backend.common import global_state
from keras.src.random import seed_generator
from keras.src.utils import rng_utils

PACKAGE = Path(__file__).parents[2] / "vit_keras"
BACKEND = keras.backend.backend()


class Private(NamedTuple):
    owner: str
    name: str
    reason: str
    parameters: int | None = None  # of a method; None for an attribute
    backend: str | None = None  # the only one where it exists
    distribution: str = "keras"


MEMBERS = [
    Private("optimizer", "_apply_weight_decay", "Decay is scaled per layer; Keras has one number.", 1),
    Private("optimizer", "_backend_update_step", "Updates are scaled per layer; the public `update_step` is skipped on torch.", 3),
    Private("optimizer", "_clip_gradients", "Clips the sum of all devices; Keras clips each device's part.", 1),
    Private("optimizer", "_get_current_learning_rate", "A schedule counts optimizer steps; `learning_rate` calls this.", 0),
    Private("optimizer", "_get_variable_index", "Finds a variable's layer scale and moments; no public lookup.", 1),
    Private("optimizer", "_use_weight_decay", "Lists what decays, once; there is only a public way to exclude.", 1),
    Private("optimizer", "_learning_rate", "The schedule itself; `learning_rate` gives its current value."),
    Private("optimizer", "_momentums", "Passed to TensorFlow's fused Adam; `variables` has them in no stated order."),
    Private("optimizer", "_velocities", "As `_momentums`."),
    Private("layer", "_flatten_layers", "All nested layers; the public `Model.layers` has one level.", 2),
    Private("layer", "_layers", "Whether a layer has sublayers; no public list outside Model."),
    Private("layer", "_trainable_variables", "Variables that can train, also while frozen; `trainable_variables` is empty then."),
    Private("layer", "_tracker", "Adds a weight to a built layer, as Keras' own `enable_lora` does; `lock` and `unlock` are not public."),
    Private("tensor", "_keras_history", "The operation that made a symbolic tensor; no public way back through the graph."),
    Private("layer", "_inbound_nodes", "The inputs of a layer's call; no public way back through the graph."),
    Private("functional model", "_run_through_graph", "Calls each layer with parts of the batch; `call` has no hook between layers.", 3),
    Private("fitted model", "_jax_state", "Weights during `fit`, without copying all state back each step.", backend="jax"),
    Private("fitted model", "_jax_state_synced", "As `_jax_state`.", backend="jax"),
    Private("fitted model", "_get_jax_state", "Keeps the weights that Keras takes out of the model.", 5, "jax"),
    Private("fitted model", "_purge_model_variables", "As `_get_jax_state`.", 4, "jax"),
    Private("fitted model", "_make_function", "Keeps the state of each step; no public hook.", 2, "jax"),
    Private("jax distribution", "distribute_data_input", "Places batches that devices can't share equally, where Keras fails.", 3, "jax"),
    Private("variable", "_layout", "A layout that was set on a variable; no public attribute.", backend="jax"),
    Private("variable", "_value", "Holds whole weights while they are saved; `assign` would divide them again.", backend="jax"),
    Private("callback list", "_async_train", "Callbacks that save must not run while the next step does; decided by no option."),
    Private("callback list", "_async_test", "As `_async_train`."),
    Private("callback list", "_async_predict", "As `_async_train`."),
    Private("global_state", "get_global_attribute", "Saves Keras' global seed, to restore it.", 3),
    Private("global_state", "set_global_attribute", "Restores Keras' global seed; `set_random_seed` has no way back.", 2),
    Private("seed_generator", "GLOBAL_SEED_GENERATOR", "Name of the global seed generator's attribute."),
    Private("rng_utils", "GLOBAL_RANDOM_SEED", "Name of the global seed's attribute."),
    Private("tuner", "_populate_initial_space", "Declares the space without building models.", 0, None, "keras-tuner"),
    Private("torch", "_fused_adamw_", "AdamW of all weights in one call; `torch.optim.AdamW` keeps moments of its own.", None, "torch", "torch"),
    Private("torch", "_foreach_lerp_", "One fused call per step; torch has no public one on lists of tensors.", None, "torch", "torch"),
]  # fmt: skip

OTHERS = {"_exit", "_asdict", "_replace", "_run_exitfuncs"}
"""Names with an underscore that are documented: `os._exit`, and methods of named tuples; and `atexit._run_exitfuncs`, which `os._exit` skips."""


@pytest.fixture(scope="module")
def owners() -> dict[str, Any]:
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.AdamW(), "mse", jit_compile=False)
    model.fit(np.ones((1, 2)), np.ones((1, 1)), verbose=0)
    optimizer = keras.optimizers.AdamW()
    optimizer.build([keras.Variable([1.0])])
    jax_distribution = importlib.import_module("keras.src.backend.jax.distribution_lib") if BACKEND == "jax" else None
    return {
        "jax distribution": jax_distribution, "variable": model.layers[0].kernel,
        "optimizer": optimizer, "layer": model.layers[0], "tensor": model.layers[0].output, "fitted model": model,
        "functional model": keras.Model(model.inputs, model.outputs),
        "callback list": keras.callbacks.CallbackList([]), "global_state": global_state, "seed_generator": seed_generator,
        "rng_utils": rng_utils, "tuner": keras_tuner.engine.base_tuner.BaseTuner, "torch": sys.modules.get("torch"),
    }  # fmt: skip


def find_change(member: Private, owner: Any) -> str:
    found = getattr(owner, member.name, KeyError)
    if found is KeyError:
        return "is gone"
    if member.parameters is not None:
        parameters = [name for name in inspect.signature(found).parameters if name != "self"]
        return f"takes {parameters}, not {member.parameters}" if len(parameters) != member.parameters else ""
    is_method = member.name.startswith("_") and member.distribution == "keras" and inspect.ismethod(found)
    return "is a method now, and was an attribute" if is_method else ""


def test_the_members_exist_and_have_their_parameters(owners):
    changed = [
        f"{member.distribution} {importlib.metadata.version(member.distribution)}: the private {member.owner} member"
        f" {member.name} {change}. It is used for: {member.reason}"
        for member in MEMBERS
        if member.backend in (None, BACKEND) and (change := find_change(member, owners[member.owner]))
    ]
    assert changed == []
    for method in ("lock", "unlock"):
        assert callable(getattr(owners["layer"]._tracker, method, None)), f"Layer._tracker has no {method} any more"


@pytest.mark.any_backend
def test_the_table_has_what_the_package_uses():
    read, ours = set(), set()
    for node in (node for path in PACKAGE.rglob("*.py") for node in ast.walk(ast.parse(path.read_text("utf-8")))):
        if isinstance(node, ast.Attribute):
            (read if isinstance(node.ctx, ast.Load) else ours).add(node.attr)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            ours.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            ours.add(node.id)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("getattr", "hasattr"):
            name = node.args[1]
            read |= {name.value} if isinstance(name, ast.Constant) else set()
    foreign = {name for name in read - ours if re.match(r"_[a-z]", name)}
    assert foreign - {member.name for member in MEMBERS} - OTHERS == set(), "add these private members to MEMBERS"
    text = "\n".join(path.read_text("utf-8") for path in PACKAGE.rglob("*.py"))
    unused = [member.name for member in MEMBERS if not re.search(rf"\b{member.name}\b", text)]
    assert unused == [], "nothing uses these any more: remove their rows"
