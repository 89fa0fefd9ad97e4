"""Vision Transformers for Keras 3: layers that read like the paper, presets as data, and the work around them.

Names are loaded when they are first used, so that `preset_info` needs no Keras and nothing needs a second backend. As soon as
Keras is there the layers, optimizers, losses, metrics and schedules register with it, and `keras.saving.load_model` finds them.
"""

import sys
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING

from vit_keras.runtime.lazy import names_of
from vit_keras.version import __version__ as __version__

if TYPE_CHECKING:
    from vit_keras import data as data
    from vit_keras import errors as errors
    from vit_keras import explain as explain
    from vit_keras import layers as layers
    from vit_keras import training as training
    from vit_keras import tuning as tuning
    from vit_keras import weights as weights
    from vit_keras.config import ViTConfig as ViTConfig
    from vit_keras.errors import VitKerasError as VitKerasError
    from vit_keras.models.vit import model_config as model_config
    from vit_keras.models.vit import vit as vit
    from vit_keras.presets import list_presets as list_presets
    from vit_keras.presets import load_preset as load_preset
    from vit_keras.presets import preset_info as preset_info
    from vit_keras.training import recipes as recipes
    from vit_keras.training.finetuning import finetune as finetune
    from vit_keras.training.trainer import train as train
    from vit_keras.zoo.preset_directory import from_preset as from_preset
    from vit_keras.zoo.preset_directory import load_class_names as load_class_names
    from vit_keras.zoo.preset_directory import load_preprocessing as load_preprocessing
    from vit_keras.zoo.preset_directory import save_preset as save_preset
    from vit_keras.zoo.rebuild import rebuild as rebuild

_HOMES = {
    "ViTConfig": "config",
    "VitKerasError": "errors",
    "model_config": "models.vit",
    "data": "",
    "errors": "",
    "explain": "",
    "finetune": "training.finetuning",
    "from_preset": "zoo.preset_directory",
    "layers": "",
    "list_presets": "presets",
    "load_class_names": "zoo.preset_directory",
    "load_preset": "presets",
    "load_preprocessing": "zoo.preset_directory",
    "preset_info": "presets",
    "rebuild": "zoo.rebuild",
    "recipes": "training",
    "save_preset": "zoo.preset_directory",
    "train": "training",
    "training": "",
    "tuning": "",
    "vit": "models.vit",
    "weights": "",
}
"""Public names, and the module of this package that has each."""

__all__ = sorted(_HOMES)


__getattr__ = names_of(__name__, _HOMES)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


_REGISTERED = (
    "layers",
    "layers.adapted_block",
    "models.keras_model",
    "training.callbacks.averaging",
    "training.losses.distillation",
    "training.losses.crossentropy",
    "training.losses.metrics",
    "training.optim.optimizers",
    "training.optim.schedules",
)
"""Modules whose classes a `.keras` file can name: layers and models, and what they are compiled with."""


class _RegisterWithKeras(MetaPathFinder):
    """Waits for `import keras`, then registers the classes: a `.keras` file loads whichever of the two is imported first.

    A mere probe for Keras, as TensorFlow makes one, finds a spec that nobody executes; the wait ends when one was. Packages with modules of
    `_REGISTERED` import Keras in their `__init__`: a module that did so itself would be half there while the others import it.
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
    for module in _REGISTERED:
        import_module(f"vit_keras.{module}")


if "keras" in sys.modules:
    _register()
else:
    sys.meta_path.insert(0, _RegisterWithKeras())
