import importlib
import importlib.metadata
import inspect
import os
import pkgutil
import subprocess
import sys

import pytest

import vit_keras as vk
from vit_keras import errors

HEAVY = {
    "keras",
    "tensorflow",
    "jax",
    "torch",
    "matplotlib",
    "tensorflow_datasets",
    "keras_tuner",
    "sklearn",
    "PIL",
    "rich",
}
ERRORS = [item for item in vars(errors).values() if inspect.isclass(item)]


def python(code, **environment):
    """Runs code in a new Python process and returns what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_public_names_are_sorted_exist_and_have_docstrings():
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


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="finetoon"):
        _ = vk.finetoon


def test_the_version_is_the_distributions():
    assert vk.__version__ == importlib.metadata.version("vit-keras-zoo")


def test_every_error_is_a_vit_keras_error_and_a_built_in_one_and_public_in_its_module():
    assert vk.errors is errors
    assert {error.__name__ for error in ERRORS} & set(vk.__all__) == {"VitKerasError"}
    for error in ERRORS:
        assert issubclass(error, errors.VitKerasError)
        if error is not errors.VitKerasError:
            assert issubclass(error, (ValueError, OSError, RuntimeError, ArithmeticError, MemoryError))


def test_importing_the_package_and_reading_presets_imports_nothing_heavy():
    assert python(f"import sys, vit_keras; print({HEAVY} & sys.modules.keys())") == "set()"
    code = (
        "import sys, vit_keras as vk\n"
        "vk.preset_info(vk.list_presets('vit_base*')[0]); vk.load_preset('vit_base_patch16_224'); vk.ViTConfig\n"
        f"print({HEAVY | {'numpy'}} & sys.modules.keys())"
    )
    assert python(code) == "set()"


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
        "assert 'vit_keras>Patches' in keras.saving.get_custom_objects(), 'layers are not registered'\n"
        "print(sorted({'tensorflow', 'jax', 'torch', 'matplotlib', 'tensorflow_datasets', 'keras_tuner'} & set(sys.modules)\n"
        "             - before))"
    )
    assert python(code, KERAS_BACKEND=backend) == "[]"


@pytest.mark.slow
def test_layers_are_registered_also_where_keras_is_imported_second():
    python(
        "import vit_keras as vk\n"
        "import keras\n"
        "vk.layers\n"
        "assert 'vit_keras>Patches' in keras.saving.get_custom_objects()"
    )
