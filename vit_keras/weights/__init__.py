"""Weights in files: any library's checkpoint read where it fits, ours written back under its names, whole or not at all."""

from typing import TYPE_CHECKING

from vit_keras.lazy import names_of

if TYPE_CHECKING:
    from vit_keras.weights.loading import load as load
    from vit_keras.weights.opening import open_tensors as open_tensors
    from vit_keras.weights.planning import plan as plan
    from vit_keras.weights.steps import Plan as Plan
    from vit_keras.weights.store import read_tensors as read_tensors
    from vit_keras.weights.store import write_tensors as write_tensors
    from vit_keras.weights.surgery import Surgery as Surgery
    from vit_keras.weights.writing import write as write

_HOMES = {
    "Plan": "steps",
    "Surgery": "surgery",
    "load": "loading",
    "open_tensors": "opening",
    "plan": "planning",
    "read_tensors": "store",
    "write": "writing",
    "write_tensors": "store",
}
"""Public names, and the module of this package that has each; loaded when first used, because `load` needs Keras."""

__all__ = sorted(_HOMES)


__getattr__ = names_of(__name__, _HOMES)


def __dir__() -> list[str]:
    return [*__all__]
