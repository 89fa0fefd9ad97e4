"""A recipe by its name: its numbers, and the recipe that they make for a model and data."""

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from vit_keras.errors import InvalidArgumentError
from vit_keras.training.recipes.recipe import Recipe

if TYPE_CHECKING:
    import keras

    from vit_keras.data import ImageData


class NamedRecipe:
    """A recipe of `vk.recipes`, called with a model and the data to train it on.

    Args:
        numbers: Makes a recipe of `epochs` and `steps_per_epoch`, and perhaps of `num_layers`.
    """

    def __init__(self, numbers: Callable[..., Recipe]) -> None:
        self.__name__, self.__doc__, self.__module__ = numbers.__name__, numbers.__doc__, numbers.__module__
        self._numbers = numbers
        self._goes_by_depth = "num_layers" in inspect.signature(numbers).parameters

    def __call__(self, model: "keras.Model", data: "ImageData", *, epochs: int | None = None, **changes: Any) -> Recipe:
        """Returns the recipe sized to a model and data, as `vk.finetune` sizes it; `choices` has each choice with its reason.

        Args:
            model: What `vit` or `from_preset` made.
            data: What it is going to be trained on.
            epochs: Passes over the training images; None to have it chosen.
            **changes: Fields of `Recipe` in place of what would be chosen; `class_weights` may be "balanced".

        Raises:
            InvalidArgumentError: These are no data of `vk.data.load`, a field is unknown, or not legal.
        """
        from vit_keras.data import ImageData
        from vit_keras.training.finetuning import plan_of

        if not isinstance(data, ImageData):
            raise InvalidArgumentError(
                f"vk.recipes.{self.__name__}(model, data) got data of {type(data).__name__}: vk.data.load makes ImageData of them."
            )
        return plan_of(model, data, method=self.__name__, epochs=epochs, changes=changes)

    def unsized(self, *, epochs: int, steps_per_epoch: int, num_layers: int = 12, **changes: Any) -> Recipe:
        """Returns the recipe as it was measured or published, for no model and no data.

        Args:
            epochs: Passes over the training images.
            steps_per_epoch: Training batches an epoch.
            num_layers: Blocks of the model, by which published numbers may go.
            **changes: Fields of `Recipe` in place of the recipe's.
        """
        depth = {"num_layers": num_layers} if self._goes_by_depth else {}
        return self._numbers(epochs=epochs, steps_per_epoch=steps_per_epoch, **depth, **changes)
