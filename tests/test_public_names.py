import ast
import importlib
import importlib.metadata
import inspect
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import vit_keras as vk
from vit_keras import errors, registration

HEAVY = {"keras", "tensorflow", "jax", "torch", "matplotlib", "tensorflow_datasets", "keras_tuner", "sklearn", "PIL", "rich"}  # fmt: skip
ERRORS = [item for item in vars(errors).values() if inspect.isclass(item)]


def python(code, *options, **environment):
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment}
    command = [sys.executable, *options, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_public_names_are_sorted_exist_and_have_docstrings_and_no_other_does():
    assert vk.__version__ == importlib.metadata.version("vit-keras-zoo")
    with pytest.raises(AttributeError, match="finetoon"):
        _ = vk.finetoon
    assert list(vk.__all__) == sorted(set(vk.__all__))
    assert set(vk.__all__) <= set(dir(vk))
    for name in set(vk.__all__) - {"__version__"}:
        documentation = inspect.getdoc(getattr(vk, name))
        assert documentation, name
        assert documentation.splitlines()[0].endswith((".", ":")), name


def test_every_module_has_a_docstring_and_exports_what_it_lists():
    for found in pkgutil.walk_packages(vk.__path__, "vit_keras."):
        module = importlib.import_module(found.name)
        assert module.__doc__, found.name
        exported = getattr(module, "__all__", [])
        assert len(exported) == len(set(exported)), found.name
        assert all(inspect.getdoc(getattr(module, item)) for item in exported), found.name


def read_imports(module):
    """The modules and names that a module imports at its top."""
    tree = ast.parse(Path(module.__file__).read_text("utf-8"))
    plain = {each.name for node in tree.body if isinstance(node, ast.Import) for each in node.names}
    named = {
        f"{node.module}{dot}{each.name if dot else ''}"
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for each in node.names
        for dot in ("", ".")
    }
    return plain | named


def test_any_public_name_can_be_the_first_that_a_program_uses():
    """Importing Keras imports all modules with registered classes, which must not need the module that imports Keras."""
    found = {each.name for each in pkgutil.walk_packages(vk.__path__, "vit_keras.")}
    imports = {name: read_imports(importlib.import_module(name)) for name in found}
    with_keras = {name for name, each in imports.items() if any(one.split(".")[0] == "keras" for one in each)}
    needed, waiting = set(), {f"vit_keras.{name}" for name in registration._MODULES}
    while waiting:
        needed |= waiting
        waiting = {each for name in waiting for each in imports[name] & found} - needed

    def has_package_with_keras(name):
        package = name.rpartition(".")[0]
        return package != "vit_keras" and (package in with_keras or has_package_with_keras(package))

    late = {name for name in needed & with_keras if not has_package_with_keras(name)} - {"vit_keras.layers"}
    late -= {name for name in late if hasattr(sys.modules[name], "__path__")}  # packages themselves
    assert "vit_keras.distributed.arrays" in late  # not for programs: imported after Keras alone
    modules = [vk, *(getattr(vk, name) for name in vk.__all__ if inspect.ismodule(getattr(vk, name)))]
    public = {
        inspect.getmodule(getattr(module, name)).__name__
        for module in modules
        for name in getattr(module, "__all__", [])
        if hasattr(getattr(module, name), "__module__")
    }
    assert public & late == set()
    assert {name for name in found - late if imports[name] & late and name not in with_keras} <= {
        name for name in found if has_package_with_keras(name)
    }


def test_every_error_is_a_vit_keras_error_and_a_built_in_one_and_public_in_its_module():
    assert vk.errors is errors
    assert {error.__name__ for error in ERRORS} & set(vk.__all__) == {"VitKerasError"}
    for error in ERRORS:
        assert issubclass(error, errors.VitKerasError)
        built_in = (ValueError, OSError, RuntimeError, ArithmeticError, MemoryError)
        assert issubclass(error, built_in) == (error is not errors.VitKerasError)


def test_importing_the_package_and_reading_presets_imports_nothing_heavy():
    code = (
        "import sys, vit_keras as vk\n"
        "vk.preset_info(vk.list_presets('vit_base*')[0]); vk.load_preset('vit_base_patch16_224'); vk.ViTConfig\n"
        f"print({HEAVY | {'numpy'}} & sys.modules.keys())"
    )
    assert python(code, "-W", "error") == "set()"


@pytest.mark.parametrize(
    "backend",
    ["tensorflow", pytest.param("jax", marks=pytest.mark.slow), pytest.param("torch", marks=pytest.mark.slow)],
)
def test_after_keras_only_the_active_backend_is_imported(backend):
    code = (
        "import sys, keras\n"
        "before = set(sys.modules)\n"
        "import vit_keras as vk\n"
        "config = vk.ViTConfig(image_size=16, patch_size=8, hidden_dim=16, num_layers=1, num_heads=2, mlp_dim=32)\n"
        "vk.vit(config, num_classes=2)\n"
        f"print(({HEAVY} & set(sys.modules)) - before)"
    )
    assert python(code, KERAS_BACKEND=backend) == "set()"


def test_where_a_public_function_takes_a_path_it_takes_a_string():
    spaces = (vk, vk.data, vk.explain, vk.training, vk.tuning, vk.weights)
    functions = {item for space in spaces for item in map(space.__getattr__, space.__all__) if inspect.isfunction(item)}
    assert len(functions) > 40
    for function in functions:
        for name, parameter in inspect.signature(function).parameters.items():
            words = str(parameter.annotation)
            assert "Path" not in words or "str" in words, f"{function.__name__}({name}: {words})"
