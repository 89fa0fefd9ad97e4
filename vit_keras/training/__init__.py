"""Training: recipes as data, `model.fit` around them, and what a run leaves behind."""

from typing import TYPE_CHECKING

from vit_keras.runtime.lazy import names_of

if TYPE_CHECKING:
    from vit_keras.training import recipes as recipes
    from vit_keras.training.callbacks.averaging import ExponentialMovingAverage as ExponentialMovingAverage
    from vit_keras.training.callbacks.best_weights import RestoreBestWeights as RestoreBestWeights
    from vit_keras.training.finetuning import finetune as finetune
    from vit_keras.training.losses.distillation import Distillation as Distillation
    from vit_keras.training.micro_batch import choose_micro_batch as choose_micro_batch
    from vit_keras.training.optim.optimizers import SGD as SGD
    from vit_keras.training.optim.optimizers import AdamW as AdamW
    from vit_keras.training.optim.optimizers import Lamb as Lamb
    from vit_keras.training.optim.optimizers import Lion as Lion
    from vit_keras.training.optim.optimizers import Muon as Muon
    from vit_keras.training.recipes import Recipe as Recipe
    from vit_keras.training.runs.repeating import evaluate_run as evaluate_run
    from vit_keras.training.runs.session import TrainingInterrupted as TrainingInterrupted
    from vit_keras.training.runs.session import TrainingResult as TrainingResult
    from vit_keras.training.trainer import TrainingOptions as TrainingOptions
    from vit_keras.training.trainer import train as train
    from vit_keras.training.transfer.features import extract_features as extract_features
    from vit_keras.training.transfer.freezing import set_trainable as set_trainable
    from vit_keras.training.transfer.lora import add_lora as add_lora
    from vit_keras.training.transfer.lora import load_lora as load_lora
    from vit_keras.training.transfer.lora import merge_lora as merge_lora
    from vit_keras.training.transfer.lora import save_lora as save_lora
    from vit_keras.training.transfer.nearest_neighbors import KNNClassifier as KNNClassifier
    from vit_keras.training.transfer.soup import BestCheckpoints as BestCheckpoints
    from vit_keras.training.transfer.soup import greedy_soup as greedy_soup

_HOMES = {
    "AdamW": "training.optim.optimizers",
    "BestCheckpoints": "training.transfer.soup",
    "RestoreBestWeights": "training.callbacks.best_weights",
    "Distillation": "training.losses.distillation",
    "Lamb": "training.optim.optimizers",
    "Lion": "training.optim.optimizers",
    "Muon": "training.optim.optimizers",
    "KNNClassifier": "training.transfer.nearest_neighbors",
    "Recipe": "training.recipes",
    "SGD": "training.optim.optimizers",
    "TrainingInterrupted": "training.runs.session",
    "TrainingOptions": "training.trainer",
    "TrainingResult": "training.runs.session",
    "ExponentialMovingAverage": "training.callbacks.averaging",
    "add_lora": "training.transfer.lora",
    "choose_micro_batch": "training.micro_batch",
    "evaluate_run": "training.runs.repeating",
    "extract_features": "training.transfer.features",
    "finetune": "training.finetuning",
    "greedy_soup": "training.transfer.soup",
    "load_lora": "training.transfer.lora",
    "merge_lora": "training.transfer.lora",
    "recipes": "",
    "save_lora": "training.transfer.lora",
    "train": "training.trainer",
    "set_trainable": "training.transfer.freezing",
}
"""Public names, and the module of this package that has each."""

__all__ = sorted(_HOMES)


__getattr__ = names_of(__name__, _HOMES)


def __dir__() -> list[str]:
    return [*__all__]
