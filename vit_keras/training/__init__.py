"""Training: recipes as data, `model.fit` around them, and what a run leaves behind."""

from typing import TYPE_CHECKING

from vit_keras.lazy import names_of

if TYPE_CHECKING:
    from vit_keras.training import recipes as recipes
    from vit_keras.training.adapters import add_adapters as add_adapters
    from vit_keras.training.adapters import load_adapters as load_adapters
    from vit_keras.training.adapters import merge_adapters as merge_adapters
    from vit_keras.training.adapters import save_adapters as save_adapters
    from vit_keras.training.averaging import WeightAverage as WeightAverage
    from vit_keras.training.best_weights import BestWeights as BestWeights
    from vit_keras.training.distillation import Distillation as Distillation
    from vit_keras.training.features import features_of as features_of
    from vit_keras.training.finetuning import finetune as finetune
    from vit_keras.training.freezing import trainable_only as trainable_only
    from vit_keras.training.micro_batch import choose_micro_batch as choose_micro_batch
    from vit_keras.training.nearest_neighbours import NearestNeighbours as NearestNeighbours
    from vit_keras.training.optimizers import SGD as SGD
    from vit_keras.training.optimizers import AdamW as AdamW
    from vit_keras.training.optimizers import Lamb as Lamb
    from vit_keras.training.optimizers import Lion as Lion
    from vit_keras.training.optimizers import Muon as Muon
    from vit_keras.training.recipes import Recipe as Recipe
    from vit_keras.training.repeating import evaluate_run as evaluate_run
    from vit_keras.training.session import TrainingInterrupted as TrainingInterrupted
    from vit_keras.training.session import TrainingResult as TrainingResult
    from vit_keras.training.soup import BestCheckpoints as BestCheckpoints
    from vit_keras.training.soup import greedy_soup as greedy_soup
    from vit_keras.training.trainer import TrainingOptions as TrainingOptions
    from vit_keras.training.trainer import train as train

_HOMES = {
    "AdamW": "optimizers",
    "BestCheckpoints": "soup",
    "BestWeights": "best_weights",
    "Distillation": "distillation",
    "Lamb": "optimizers",
    "Lion": "optimizers",
    "Muon": "optimizers",
    "NearestNeighbours": "nearest_neighbours",
    "Recipe": "recipes",
    "SGD": "optimizers",
    "TrainingInterrupted": "session",
    "TrainingOptions": "trainer",
    "TrainingResult": "session",
    "WeightAverage": "averaging",
    "add_adapters": "adapters",
    "choose_micro_batch": "micro_batch",
    "evaluate_run": "repeating",
    "features_of": "features",
    "finetune": "finetuning",
    "greedy_soup": "soup",
    "load_adapters": "adapters",
    "merge_adapters": "adapters",
    "recipes": "",
    "save_adapters": "adapters",
    "train": "trainer",
    "trainable_only": "freezing",
}
"""Public names, and the module of this package that has each."""

__all__ = sorted(_HOMES)


__getattr__ = names_of(__name__, _HOMES)


def __dir__() -> list[str]:
    return [*__all__]
