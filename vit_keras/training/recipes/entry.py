"""One recipe of the table, as it was published."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vit_keras.training.recipes.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class RecipeEntry:
    """A recipe as it was published, before it is adapted to a model and data."""

    name: str
    summary: str  # what it is for, its paper, and its conditions
    initial_weights: str  # "random" or "pretrained"
    fields: Mapping[str, Any]  # of `Recipe`
    deeper: tuple[Mapping[str, Any], ...] = ()  # fields for models of at least `num_layers` blocks
    sized: tuple[str, ...] = ()  # fields that depend on the model and the run
    total_steps: int | None = None  # decides the number of epochs, if given

    def unsized(self, *, epochs: int, steps_per_epoch: int, num_layers: int = 12, **changes: Any) -> Recipe:
        """Returns the recipe as published, without adapting it to a model and data.

        Args:
            epochs: Training epochs.
            steps_per_epoch: Training batches per epoch.
            num_layers: Blocks of the model, which some published values depend on.
            **changes: Fields of `Recipe` to use instead of the recipe's.
        """
        values = dict(self.fields)
        for deeper in self.deeper:
            if num_layers >= deeper["num_layers"]:
                values |= deeper
        values.pop("num_layers", None)
        recipe = Recipe(name=self.name, **values, epochs=epochs, steps_per_epoch=steps_per_epoch).replace(**changes)
        if self.total_steps is None:
            return recipe
        return recipe.replace(epochs=-(-self.total_steps // steps_per_epoch))
