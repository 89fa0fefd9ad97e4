"""Tuning: depth, heads and the rest within a budget, on keras-tuner's classes."""

from typing import TYPE_CHECKING

from vit_keras.runtime.lazy import names_of

if TYPE_CHECKING:
    from vit_keras.tuning.searching import SearchResult as SearchResult
    from vit_keras.tuning.searching import search as search
    from vit_keras.tuning.space.finetuning import FinetuningHyperModel as FinetuningHyperModel
    from vit_keras.tuning.space.hypermodel import ViTHyperModel as ViTHyperModel
    from vit_keras.tuning.space.search_space import Choice as Choice
    from vit_keras.tuning.space.search_space import FloatRange as FloatRange
    from vit_keras.tuning.space.search_space import IntRange as IntRange
    from vit_keras.tuning.space.search_space import SearchSpace as SearchSpace
    from vit_keras.tuning.strategy.budget import Budget as Budget
    from vit_keras.tuning.study.study import Study as Study
    from vit_keras.tuning.study.study import Trial as Trial
    from vit_keras.tuning.tuner import TunerOptions as TunerOptions
    from vit_keras.tuning.tuner import ViTTuner as ViTTuner
    from vit_keras.tuning.workers.worker import TrialLimits as TrialLimits

_HOMES = {
    "Budget": "tuning.strategy.budget",
    "Choice": "tuning.space.search_space",
    "FinetuningHyperModel": "tuning.space.finetuning",
    "FloatRange": "tuning.space.search_space",
    "IntRange": "tuning.space.search_space",
    "SearchResult": "tuning.searching",
    "SearchSpace": "tuning.space.search_space",
    "Study": "tuning.study.study",
    "Trial": "tuning.study.study",
    "TrialLimits": "tuning.workers.worker",
    "TunerOptions": "tuning.tuner",
    "ViTHyperModel": "tuning.space.hypermodel",
    "ViTTuner": "tuning.tuner",
    "search": "tuning.searching",
}
"""Public names, and the module of this package that has each."""

__all__ = sorted(_HOMES)


__getattr__ = names_of(__name__, _HOMES)


def __dir__() -> list[str]:
    return [*__all__]
