"""Weights in files: any library's checkpoint read where it fits, ours written back under its names, whole or not at all."""

from typing import TYPE_CHECKING

from vit_keras.runtime.lazy import names_of

if TYPE_CHECKING:
    from vit_keras.weights.adapt.options import AdaptOptions as AdaptOptions
    from vit_keras.weights.formats.opening import open_tensors as open_tensors
    from vit_keras.weights.loading import load as load
    from vit_keras.weights.planning import plan as plan
    from vit_keras.weights.steps import Plan as Plan
    from vit_keras.weights.store import read_tensors as read_tensors
    from vit_keras.weights.store import write_tensors as write_tensors
    from vit_keras.weights.writing import write as write

_HOMES = {
    "Plan": "weights.steps",
    "AdaptOptions": "weights.adapt.options",
    "load": "weights.loading",
    "open_tensors": "weights.formats.opening",
    "plan": "weights.planning",
    "read_tensors": "weights.store",
    "write": "weights.writing",
    "write_tensors": "weights.store",
}
"""Public names, and the module of this package that has each; loaded when first used, because `load` needs Keras."""

__all__ = sorted(_HOMES)


__getattr__ = names_of(__name__, _HOMES)


def __dir__() -> list[str]:
    return [*__all__]
