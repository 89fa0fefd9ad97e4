"""Reads `recipes.toml`: the recipes that papers published and those measured here."""

import tomllib
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from vit_keras.data.augment.augmentation import STRENGTHS, Augmentation
from vit_keras.errors import InvalidArgumentError
from vit_keras.training.recipes.entry import RecipeEntry
from vit_keras.training.recipes.recipe import Recipe
from vit_keras.training.recipes.sizing import fit_to_data

if TYPE_CHECKING:
    import keras

    from vit_keras.data import ImageData


@dataclass(frozen=True, kw_only=True)
class PublishedRecipe(RecipeEntry):
    """A recipe as it was published: call it with a model and data to get a `Recipe`."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "__doc__", self.summary)  # what editors show of `vk.recipes.NAME`

    def __call__(self, model: "keras.Model", data: "ImageData", *, epochs: int | None = None, **changes: Any) -> Recipe:
        """Returns the recipe for a model and data, as `vk.finetune` chooses it; `choices` lists each choice with its reason.

        Args:
            model: Made by `vit` or `from_preset`.
            data: The data to train on.
            epochs: Training epochs; None to choose.
            **changes: Fields of `Recipe` to use instead of the chosen values; `class_weights` may be "balanced" or "square_root".

        Raises:
            InvalidArgumentError: `data` is not made by `vk.data.load`, or a field is unknown or not legal.
        """
        from vit_keras.data import ImageData

        if not isinstance(data, ImageData):
            raise InvalidArgumentError(
                f"vk.recipes.{self.name}(model, data) got data of type {type(data).__name__}; make an ImageData with vk.data.load."
            )
        return fit_to_data(self, model, data, epochs=epochs, changes=changes)


def _parse(name: str, values: dict[str, Any]) -> PublishedRecipe:
    return PublishedRecipe(
        name=name,
        summary=values.pop("summary").strip(),
        initial_weights=values.pop("initial_weights"),
        deeper=tuple(values.pop("deeper", ())),
        sized=tuple(values.pop("sized", ())),
        total_steps=values.pop("total_steps", None),
        fields={key: _parse_value(key, value) for key, value in values.items()},
    )


def _parse_value(key: str, value: Any) -> Any:
    if key == "augmentation" and isinstance(value, dict):
        base = STRENGTHS[value.pop("base", "none")]
        return Augmentation.from_dict({**base.to_dict(), **value})
    return None if value == "none" else value


_TABLE = tomllib.loads(files(__package__).joinpath("recipes.toml").read_text("utf-8"))
RECIPES = {name: _parse(name, values) for name, values in _TABLE.items()}
"""Recipes by name."""

SCRATCH = tuple(name for name, recipe in RECIPES.items() if recipe.initial_weights == "random")
"""Recipes that start from random weights."""

FINETUNING = tuple(name for name, recipe in RECIPES.items() if recipe.initial_weights == "pretrained")
"""Recipes that start from a pretrained model."""
