"""Training: recipes as data, `model.fit` around them, and what a run leaves behind."""

from typing import TYPE_CHECKING

from vit_keras.lazy import names_of

if TYPE_CHECKING:
    from vit_keras.training import recipes as recipes
    from vit_keras.training.finetuning import finetune as finetune
    from vit_keras.training.recipes import Recipe as Recipe
    from vit_keras.training.repeating import evaluate_run as evaluate_run
    from vit_keras.training.session import TrainingInterrupted as TrainingInterrupted
    from vit_keras.training.session import TrainingResult as TrainingResult
    from vit_keras.training.trainer import TrainingOptions as TrainingOptions
    from vit_keras.training.trainer import train as train

_HOMES = {
    "Recipe": "recipes",
    "TrainingInterrupted": "session",
    "TrainingOptions": "trainer",
    "TrainingResult": "session",
    "evaluate_run": "repeating",
    "finetune": "finetuning",
    "recipes": "",
    "train": "trainer",
}
"""Public names, and the module of this package that has each."""

__all__ = sorted(_HOMES)


__getattr__ = names_of(__name__, _HOMES)


def __dir__() -> list[str]:
    return [*__all__]
