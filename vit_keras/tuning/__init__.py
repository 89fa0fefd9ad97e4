"""Tuning: depth, heads and the rest within a budget, on keras-tuner's classes."""

from typing import TYPE_CHECKING

from vit_keras.lazy import names_of

if TYPE_CHECKING:
    from vit_keras.tuning.budget import Budget as Budget
    from vit_keras.tuning.finetuning_space import FinetuningHyperModel as FinetuningHyperModel
    from vit_keras.tuning.hypermodel import ViTHyperModel as ViTHyperModel
    from vit_keras.tuning.searching import SearchResult as SearchResult
    from vit_keras.tuning.searching import search as search
    from vit_keras.tuning.space import Choice as Choice
    from vit_keras.tuning.space import FloatRange as FloatRange
    from vit_keras.tuning.space import IntRange as IntRange
    from vit_keras.tuning.space import SearchSpace as SearchSpace
    from vit_keras.tuning.study import Study as Study
    from vit_keras.tuning.study import Trial as Trial
    from vit_keras.tuning.tuner import TunerOptions as TunerOptions
    from vit_keras.tuning.tuner import ViTTuner as ViTTuner
    from vit_keras.tuning.worker import TrialLimits as TrialLimits

_HOMES = {
    "Budget": "budget",
    "Choice": "space",
    "FinetuningHyperModel": "finetuning_space",
    "FloatRange": "space",
    "IntRange": "space",
    "SearchResult": "searching",
    "SearchSpace": "space",
    "Study": "study",
    "Trial": "study",
    "TrialLimits": "worker",
    "TunerOptions": "tuner",
    "ViTHyperModel": "hypermodel",
    "ViTTuner": "tuner",
    "search": "searching",
}
"""Public names, and the module of this package that has each."""

__all__ = sorted(_HOMES)


__getattr__ = names_of(__name__, _HOMES)


def __dir__() -> list[str]:
    return [*__all__]
