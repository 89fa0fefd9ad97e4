"""`FinetuningHyperModel`: the search space of fine-tuning a pretrained model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from vit_keras.config import ViTConfig
from vit_keras.data import ImageData, Preprocessing
from vit_keras.errors import InvalidArgumentError
from vit_keras.models.vit import model_config
from vit_keras.training.recipes import Recipe
from vit_keras.training.recipes.planning import plan_finetuning
from vit_keras.training.recipes.preparing import copy_with_head, freeze
from vit_keras.training.transfer.lora import merge_lora
from vit_keras.tuning.space.dimensions import Choice, FloatRange, list_values
from vit_keras.tuning.space.limits import Limits
from vit_keras.tuning.space.search_space import SearchSpace, Values
from vit_keras.tuning.space.searchable import Searchable
from vit_keras.zoo.from_preset import from_preset
from vit_keras.zoo.rebuild import rebuild

_METHODS = ("head_first", "finetune", "last_blocks", "lora", "bias_only")
_TUNED = {
    "learning_rate", "weight_decay", "layer_decay", "augmentation", "label_smoothing", "stochastic_depth_rate", "warmup_rate",
}  # fmt: skip
_RANGE_FACTOR = 10.0  # the planned learning rate is tried up to this many times lower and higher


class FinetuningHyperModel(Searchable):
    """Tunes learning rate, layer decay, method, augmentation and resolution of fine-tuning one pretrained model.

    Args:
        preset: A name of `list_presets()` or a preset directory.
        num_classes: Number of classes of the new head.
        weights: A tag of the preset's checkpoints or a checkpoint's path; None for a directory's own weights.
        space: Dimensions that replace those of the default space; `{"image_size": [224, 288]}` tunes the resolution, px per side.

    Raises:
        InvalidArgumentError: The space has a dimension that fine-tuning does not have.
    """

    def __init__(
        self,
        preset: str | Path,
        num_classes: int,
        *,
        weights: str | None = None,
        space: SearchSpace | Mapping[str, Any] | str | Path | None = None,
    ) -> None:
        self.preset, self.weights = str(preset), weights
        self._model: keras.Model | None = None
        config = model_config(self.model)
        self.config = config
        planned = self._plan(num_classes).learning_rate
        default = SearchSpace(
            {
                "method": Choice(_METHODS),
                "learning_rate": FloatRange(planned / _RANGE_FACTOR, planned * _RANGE_FACTOR, log=True),
                "layer_decay": Choice((0.65, 0.75, 0.85, 0.9, 1.0)),
                "weight_decay": FloatRange(1e-3, 1.0, log=True),
                "augmentation": Choice(("none", "moved", "light", "medium")),
                "image_size": Choice((config.image_size[0],)),
            }
        )
        super().__init__(default.merge(space), num_classes=num_classes, limits=Limits())
        known = {"method", "image_size", "batch_size", *_TUNED}
        unknown = [name for name in self.space.dimensions if name not in known]
        if unknown:
            raise InvalidArgumentError(
                f"The search space has {', '.join(unknown)}; fine-tuning can tune {', '.join(sorted(known))}."
            )

    def __getstate__(self) -> dict[str, Any]:
        """Leaves out the model, which another process loads again."""
        return {**self.__dict__, "_model": None}

    @property
    def model(self) -> keras.Model:
        """The pretrained model."""
        if self._model is None:
            self._model = from_preset(self.preset, weights=self.weights)
        return self._model

    def model_config(self, values: Mapping[str, Any]) -> ViTConfig:
        """Returns the architecture at a trial's resolution."""
        return self.config.replace(image_size=(values["image_size"],) * 2)

    def make_recipe(self, values: Mapping[str, Any], *, epochs: int, steps_per_epoch: int) -> Recipe:
        """Returns the fine-tuning recipe of values."""
        changes = {name: value for name, value in values.items() if name in _TUNED}
        recipe = self._plan(
            self.num_classes, values["method"], steps_per_epoch=steps_per_epoch, epochs=epochs, changes=changes
        )
        return recipe.replace(epochs=epochs, patience=None, average_decay=None)

    def make_model(self, values: Mapping[str, Any], *, data: ImageData | None, recipe: Recipe) -> keras.Model:
        """Returns the pretrained model at a trial's resolution with a new head, prepared for the method; not compiled."""
        size = (values["image_size"],) * 2
        base = self.model if size == self.config.image_size else rebuild(self.model, image_size=size)
        if data is not None:
            return recipe.prepare(base, data)
        student = copy_with_head(base, num_classes=self.num_classes, stochastic_depth_rate=recipe.stochastic_depth_rate)
        return freeze(student, recipe.method)

    def finish_model(self, model: keras.Model, values: Mapping[str, Any]) -> keras.Model:
        """Returns the trained model with merged adapters."""
        return merge_lora(model) if values["method"] == "lora" else model

    def default_values(self) -> Values:
        """Returns the values that `vk.finetune` would use."""
        planned = self._plan(self.num_classes)
        wanted = {
            "method": planned.method, "learning_rate": planned.learning_rate, "layer_decay": planned.layer_decay,
            "weight_decay": planned.weight_decay, "augmentation": "moved", "image_size": self.config.image_size[0],
        }  # fmt: skip
        return self.space.choose(wanted)

    def fingerprint(self) -> dict[str, Any]:
        """Returns the settings that a search must have in common with one that it resumes, as JSON can hold them."""
        return {**super().fingerprint(), "preset": self.preset, "weights": self.weights}

    def load_data(self, train: Any, validation: Any = None) -> ImageData:
        """Returns images at the largest resolution of the space."""
        side = max(list_values(self.space.dimensions["image_size"]))
        return self._load_images(train, validation, image_size=(side, side), channels=self.config.channels)

    def prepare_data(self, values: Mapping[str, Any], data: ImageData) -> ImageData:
        """Returns the images at a trial's resolution."""
        size = (values["image_size"],) * 2
        if data.image_shape[:2] == size:
            return data
        return data.resize(Preprocessing(image_size=size, channels=self.config.channels))

    def _plan(
        self, num_classes: int, method: str = "head_first", *, steps_per_epoch: int = 1, **options: Any
    ) -> Recipe:
        """Returns the default recipe for data that is not known yet."""
        options |= {"num_classes": num_classes, "steps_per_epoch": steps_per_epoch, "method": method}
        return plan_finetuning(np.arange(num_classes), self.config, **options)
