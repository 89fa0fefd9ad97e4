"""Training: recipes as data, `model.fit` around them, and what a run leaves behind."""

from vit_keras.training import recipes
from vit_keras.training.recipes import Recipe
from vit_keras.training.trainer import TrainingOptions, TrainingResult, evaluate_run, train

__all__ = ["Recipe", "TrainingOptions", "TrainingResult", "evaluate_run", "recipes", "train"]
