"""The space of ways to fine-tune a model that was trained before."""

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
from vit_keras.tuning.space.limits import Limits
from vit_keras.tuning.space.search_space import Choice, FloatRange, SearchSpace, Values, values_of
from vit_keras.tuning.space.searchable import Searchable, load
from vit_keras.zoo.from_preset import from_preset
from vit_keras.zoo.rebuild import rebuild

_METHODS = ("head_first", "finetune", "last_blocks", "lora", "bias_only")
_TUNED = {
    "learning_rate",
    "weight_decay",
    "layer_decay",
    "augmentation",
    "label_smoothing",
    "stochastic_depth_rate",
    "warmup_rate",
}
_AROUND = 10.0  # the planned learning rate is tried up to this many times lower and higher


class FinetuningHyperModel(Searchable):
    """Learning rate, layer decay, method, augmentation and resolution of fine-tuning one pretrained model.

    Args:
        preset: A name of `list_presets()` or a preset directory.
        num_classes: Classes of the new head.
        weights: A tag of the preset's checkpoints or a checkpoint's path; None for a directory's own.
        space: Laid over the default: `{"image_size": [224, 288]}`, say, tunes the resolution, px a side.

    Raises:
        InvalidArgumentError: The space has what fine-tuning does not know.
    """

    def __init__(
        self,
        preset: str | Path,
        num_classes: int,
        *,
        weights: str | None = None,
        space: SearchSpace | Mapping[str, Any] | None = None,
    ) -> None:
        self.preset, self.weights = str(preset), weights
        self._model: keras.Model | None = None
        config = model_config(self.model)
        self.config = config
        planned = self._planned(config, num_classes).learning_rate
        default = SearchSpace(
            {
                "method": Choice(_METHODS),
                "learning_rate": FloatRange(planned / _AROUND, planned * _AROUND, log=True),
                "layer_decay": Choice((0.65, 0.75, 0.85, 0.9, 1.0)),
                "weight_decay": FloatRange(1e-3, 1.0, log=True),
                "augmentation": Choice(("none", "moved", "light", "medium")),
                "image_size": Choice((config.image_size[0],)),
            }
        )
        given = (
            {}
            if space is None
            else (space if isinstance(space, SearchSpace) else SearchSpace.from_dict(space)).dimensions
        )
        super().__init__(default.added(**given), num_classes=num_classes, limits=Limits())
        unknown = [
            name for name in self.space.dimensions if name not in {"method", "image_size", "batch_size", *_TUNED}
        ]
        if unknown:
            raise InvalidArgumentError(
                f"The search space has {', '.join(unknown)}; fine-tuning knows method, image_size, batch_size, {', '.join(sorted(_TUNED))}."
            )

    def __getstate__(self) -> dict[str, Any]:
        """Returns what another process makes it of; the model is read there."""
        return {**self.__dict__, "_model": None}

    @property
    def model(self) -> keras.Model:
        """The pretrained model."""
        if self._model is None:
            self._model = from_preset(self.preset, weights=self.weights)
        return self._model

    def model_config(self, values: Mapping[str, Any]) -> ViTConfig:
        """Returns the shape at a trial's resolution.

        Args:
            values: Of the space.
        """
        return self.config.replace(image_size=(values["image_size"],) * 2)

    def recipe_of(self, values: Mapping[str, Any], *, epochs: int, steps_per_epoch: int) -> Recipe:
        """Returns the way to fine-tune that values stand for.

        Args:
            values: Of the space.
            epochs: Passes over the training images.
            steps_per_epoch: Training batches an epoch.
        """
        changes = {name: value for name, value in values.items() if name in _TUNED}
        recipe = plan_finetuning(
            np.arange(self.num_classes),  # of data that are not known yet: an image a class
            self.config,
            num_classes=self.num_classes,
            steps_per_epoch=steps_per_epoch,
            method=values["method"],
            epochs=epochs,
            changes=changes,
        )
        return recipe.replace(epochs=epochs, patience=None, average_decay=None)

    def model_of(self, values: Mapping[str, Any], *, data: ImageData | None, recipe: Recipe) -> keras.Model:
        """Returns the pretrained model at a trial's resolution with a head for the classes, ready to be trained by its method.

        Args:
            values: Of the space.
            data: What a head is fitted to first, where the method does; None leaves it at zero.
            recipe: The way to train.
        """
        size = (values["image_size"],) * 2
        base = self.model if size == self.config.image_size else rebuild(self.model, image_size=size)
        if data is not None:
            return recipe.prepare(base, data)
        student = copy_with_head(base, num_classes=self.num_classes, stochastic_depth_rate=recipe.stochastic_depth_rate)
        return freeze(student, recipe.method)

    def finished(self, model: keras.Model, values: Mapping[str, Any]) -> keras.Model:
        """Returns what is kept of a trained model: LoRA matrices are merged into its weights.

        Args:
            model: Trained.
            values: Of its trial.
        """
        return merge_lora(model) if values["method"] == "lora" else model

    def default_values(self) -> Values:
        """Returns what `vk.finetune` would do."""
        planned = self._planned(self.config, self.num_classes)
        wanted = {
            "method": planned.method, "learning_rate": planned.learning_rate, "layer_decay": planned.layer_decay,
            "weight_decay": planned.weight_decay, "augmentation": "moved", "image_size": self.config.image_size[0],
        }  # fmt: skip
        return {
            name: wanted[name] if name in wanted and dimension.has(wanted[name]) else dimension.from_unit(0.5)
            for name, dimension in self.space.dimensions.items()
        }

    def fingerprint(self) -> dict[str, Any]:
        """Returns what makes this another search than others, as JSON holds it."""
        return {**super().fingerprint(), "preset": self.preset, "weights": self.weights}

    def data_of(self, train: Any, validation: Any = None) -> ImageData:
        """Returns images at the largest resolution of the space.

        Args:
            train: `ImageData`, or what `vk.data.load` takes.
            validation: Likewise; None where `train` has all splits, else a part is held out.
        """
        side = max(values_of(self.space.dimensions["image_size"]))
        data = load(train, validation, image_size=(side, side), channels=self.config.channels)
        if data.image_shape != (side, side, self.config.channels) or len(data.class_names) != self.num_classes:
            raise InvalidArgumentError(
                f"{data.name} has images of {data.image_shape} and {len(data.class_names)} classes; the hypermodel is for "
                f"{(side, side, self.config.channels)} and {self.num_classes}."
            )
        return data

    def data_for(self, values: Mapping[str, Any], data: ImageData) -> ImageData:
        """Returns the images at a trial's resolution.

        Args:
            values: Of the space.
            data: At the largest.
        """
        size = (values["image_size"],) * 2
        if data.image_shape[:2] == size:
            return data
        return data.resize(Preprocessing(image_size=size, channels=self.config.channels))

    def _planned(self, config: ViTConfig, num_classes: int) -> Recipe:
        """Returns what is planned for images of which nothing is known yet."""
        return plan_finetuning(
            np.arange(num_classes), config, num_classes=num_classes, steps_per_epoch=1, method="head_first"
        )
