"""Recipes by name, each with its source and the result to expect; `vit-keras recipes` prints them.

Each is called with a model and the data to train it on, `vk.recipes.NAME(model, data, epochs=..., **fields)`, and returns the `Recipe`
that a run would train by.
"""

from vit_keras.training.recipes.finetuning import (
    adapters,
    bias_only,
    big_vision_transfer,
    finetune,
    head_first,
    last_blocks,
    linear_probe,
    mae_finetune,
    nearest_neighbours,
    vit_paper_finetune,
)
from vit_keras.training.recipes.named_recipe import NamedRecipe
from vit_keras.training.recipes.recipe import Recipe
from vit_keras.training.recipes.scratch import (
    augreg,
    deit,
    deit3,
    from_scratch,
    simple_vit,
    small_images,
)

__all__ = [
    "FINETUNING",
    "RECIPES",
    "SCRATCH",
    "Recipe",
    "adapters",
    "augreg",
    "bias_only",
    "big_vision_transfer",
    "deit",
    "deit3",
    "finetune",
    "from_scratch",
    "head_first",
    "last_blocks",
    "linear_probe",
    "mae_finetune",
    "nearest_neighbours",
    "simple_vit",
    "small_images",
    "vit_paper_finetune",
]

FINETUNING = (
    "finetune",
    "head_first",
    "last_blocks",
    "bias_only",
    "adapters",
    "linear_probe",
    "vit_paper_finetune",
    "big_vision_transfer",
    "mae_finetune",
)
"""Recipes that begin with a trained model and change it."""

SCRATCH = ("from_scratch", "small_images", "augreg", "deit", "deit3", "simple_vit")
"""Recipes that begin with random weights."""

RECIPES: dict[str, NamedRecipe] = {
    "from_scratch": from_scratch,
    "small_images": small_images,
    "augreg": augreg,
    "deit": deit,
    "deit3": deit3,
    "simple_vit": simple_vit,
    "finetune": finetune,
    "head_first": head_first,
    "last_blocks": last_blocks,
    "bias_only": bias_only,
    "adapters": adapters,
    "linear_probe": linear_probe,
    "nearest_neighbours": nearest_neighbours,
    "vit_paper_finetune": vit_paper_finetune,
    "big_vision_transfer": big_vision_transfer,
    "mae_finetune": mae_finetune,
}
"""Recipes by name."""
