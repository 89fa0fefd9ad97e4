"""Recipes by name, from `recipes.toml`; `vit-keras recipes` prints them.

`vk.recipes.NAME(model, data, epochs=..., **fields)` returns the `Recipe` that `vk.finetune` would use for this model and data.
"""

from vit_keras.training.recipes.published import FINETUNING, RECIPES, SCRATCH, PublishedRecipe
from vit_keras.training.recipes.recipe import Recipe

__all__ = ["FINETUNING", "RECIPES", "SCRATCH", "Recipe", *RECIPES]


def __getattr__(name: str) -> PublishedRecipe:
    if name in RECIPES:
        return RECIPES[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
