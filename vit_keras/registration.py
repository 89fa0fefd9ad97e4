"""Registers the classes that a `.keras` file can name, as soon as Keras is imported."""

import sys
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType

_MODULES = (
    "layers",
    "layers.adapted_block",
    "models.keras_model",
    "pretraining.mae.decoder",
    "pretraining.mae.model",
    "training.callbacks.averaging",
    "training.losses.distillation",
    "training.losses.crossentropy",
    "training.losses.metrics",
    "training.losses.multi_label",
    "training.losses.regression",
    "training.optim.optimizers",
    "training.optim.schedules",
)
"""Modules with registered classes, the layers first, since the others need them. Their packages import Keras in `__init__`, before any of their modules."""


class _RegisterAfterKeras:
    """Registers the classes after `import keras`, so that `.keras` files load whichever package is imported first.

    Looking for Keras without importing it, as TensorFlow does, changes nothing.
    """

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name != "keras":
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        spec = next(filter(None, (finder.find_spec(name, path, target) for finder in others)), None)  # type: ignore[arg-type]
        if spec is None or spec.loader is None:
            return None
        load = spec.loader.exec_module

        def load_and_register(module: ModuleType) -> None:
            load(module)
            if self in sys.meta_path:
                sys.meta_path.remove(self)
            _register()

        spec.loader.exec_module = load_and_register  # type: ignore[method-assign]
        return spec


def _register() -> None:
    layers = sys.modules.get("vit_keras.layers")
    if layers is not None and not hasattr(layers, "__all__"):
        return  # half imported: it calls `register_with_keras` at its end
    for module in _MODULES:
        import_module(f"vit_keras.{module}")


def register_with_keras() -> None:
    """Registers the classes now if Keras is imported, else when it is; importing `vit_keras` imports no backend."""
    if "keras" in sys.modules:
        _register()
    else:
        sys.meta_path.insert(0, _RegisterAfterKeras())
