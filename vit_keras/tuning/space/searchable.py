"""`Searchable`: base of the hypermodels, which turn values into a model and a recipe, for `ViTTuner` and keras-tuner's own tuners."""

import functools
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import keras
import keras_tuner
import numpy as np

from vit_keras import data as data_sources
from vit_keras.config import ViTConfig
from vit_keras.data import ImageData
from vit_keras.errors import InvalidArgumentError
from vit_keras.training.memory import model_cost
from vit_keras.training.recipes import Recipe
from vit_keras.training.recipes.task_fields import fit_task
from vit_keras.tuning.space.dimensions import Choice, IntRange
from vit_keras.tuning.space.latency import Latencies
from vit_keras.tuning.space.limits import Limits
from vit_keras.tuning.space.search_space import SearchSpace, Values

_ONE_STEP = 0.9  # of one step; rounded up to one


class NoEffectError(InvalidArgumentError, keras_tuner.errors.FatalError):
    """An argument or a dimension would have no effect; it ends the search of keras-tuner's own tuners, too."""


class Searchable(keras_tuner.HyperModel):
    """Base of `ViTHyperModel` and `FinetuningHyperModel`."""

    def __init__(self, space: SearchSpace, *, num_classes: int, limits: Limits) -> None:
        super().__init__(name="vit", tunable=True)
        if type(num_classes) is not int or num_classes < 1:
            raise InvalidArgumentError(f"num_classes must be a positive integer, got {num_classes!r}.")
        self.space = space
        self.num_classes = num_classes
        self.limits = limits
        self.default_limits = Limits()  # chosen for the data where none were given; a resumed search may have others

    # What a subclass defines; `values` is a value per dimension of the space.

    def model_config(self, values: Mapping[str, Any]) -> ViTConfig:
        """Returns the architecture of values; nothing is built."""
        raise NotImplementedError

    def make_recipe(self, values: Mapping[str, Any], *, epochs: int, steps_per_epoch: int) -> Recipe:
        """Returns the training recipe of values."""
        raise NotImplementedError

    def make_model(self, values: Mapping[str, Any], *, data: ImageData | None, recipe: Recipe) -> keras.Model:
        """Returns a new model, not compiled."""
        raise NotImplementedError

    def default_values(self) -> Values:
        """Returns the values that are tried first."""
        raise NotImplementedError

    def load_data(self, train: Any, validation: Any = None) -> ImageData:
        """Returns images of the size that the search needs."""
        raise NotImplementedError

    def prepare_data(self, values: Mapping[str, Any], data: ImageData) -> ImageData:
        """Returns the images as a trial needs them."""
        return data

    def finish_model(self, model: keras.Model, values: Mapping[str, Any]) -> keras.Model:
        """Returns the model that is saved after training."""
        return model

    def make_legal(self, values: Mapping[str, Any]) -> Values:
        """Returns values that can be built: the same, or changed where they conflict or exceed a limit."""
        return dict(values)

    def fingerprint(self) -> dict[str, Any]:
        """Returns the settings that a search must have in common with one that it resumes, as JSON can hold them."""
        return {
            "kind": type(self).__name__,
            "space": self.space.to_dict(),
            "limits": self.limits.to_dict(),
            "num_classes": self.num_classes,
        }

    # What a search asks.

    def overrides(self, name: str) -> bool:
        """Returns whether a subclass has its own "build" or "fit"."""
        return getattr(type(self), name) is not getattr(Searchable, name)

    @functools.cached_property
    def latencies(self) -> Latencies:
        """Measured latencies of architectures."""
        return Latencies()

    def find_size_problems(self, values: Mapping[str, Any]) -> list[str]:
        """Returns the limits but latency that values exceed, as sentences."""
        config, batch_size = self.model_config(values), int(values.get("batch_size", 1))
        cost = {"num_classes": self.num_classes, "batch_size": batch_size}
        return [
            problem for limits in (self.limits, self.default_limits) for problem in limits.find_problems(config, **cost)
        ]

    def find_problems(self, values: Mapping[str, Any]) -> list[str]:
        """Returns the limits that values exceed, as sentences."""
        problems = self.find_size_problems(values)
        if not problems and self.limits.latency is not None:
            latency = self.latencies.measure(self.model_config(values), num_classes=self.num_classes)
            if latency > self.limits.latency:
                problems = [f"{1e3 * latency:.3g} ms per image is over the limit of {1e3 * self.limits.latency:.3g} ms"]
        return problems

    def compute_costs(self, values: Mapping[str, Any]) -> dict[str, float]:
        """Returns the costs that are known before training: "params", "macs", and "latency" if it is limited."""
        config = self.model_config(values)
        cost = model_cost(config, num_classes=self.num_classes)
        costs = {"params": float(cost["parameters"]), "macs": float(cost["macs"])}
        if self.limits.latency is not None:
            costs["latency"] = self.latencies.measure(config, num_classes=self.num_classes)
        return costs

    def make_key(self, values: Mapping[str, Any]) -> str:
        """Returns a string that is equal for values that train the same."""
        return json.dumps(dict(values), sort_keys=True)

    def draw(self, rng: np.random.Generator) -> Values:
        """Returns random legal values."""
        return self.make_legal(self.space.sample(rng))

    def sample(self, count: int, seed: int = 0) -> list[tuple[Values, ViTConfig]]:
        """Returns different random values within the limits, with their architectures; nothing is built.

        Args:
            count: Number of samples; fewer are returned if the space has no more.
            seed: Random seed.
        """
        rng, found = np.random.default_rng(seed), dict[str, Values]()
        for _ in range(20 * count):
            if len(found) == count:
                break
            values = self.draw(rng)
            if not self.find_problems(values):
                found.setdefault(self.make_key(values), values)
        return [(values, self.model_config(values)) for values in found.values()]

    # What keras-tuner asks.

    def declare_hyperparameters(self, hp: keras_tuner.HyperParameters) -> None:
        """Declares the space to keras-tuner; nothing is built."""
        defaults = self.default_values()
        for name, dimension in self.space.dimensions.items():
            default = defaults[name]
            if isinstance(dimension, Choice):
                ordered = {"ordered": True} if dimension.is_ordered else {}
                hp.Choice(name, list(dimension.values), default=default, **ordered)
            elif isinstance(dimension, IntRange):
                hp.Int(name, dimension.low, dimension.high, step=dimension.step, default=default)
            else:
                sampling = "log" if dimension.log else "linear"
                hp.Float(name, dimension.low, dimension.high, sampling=sampling, default=default)

    def built_values(self, hp: keras_tuner.HyperParameters) -> Values:
        """Returns the values that `build` uses: those of `hp`, or smaller ones if they exceed a limit.

        `hp` is not changed, because a tuner compares it with what it has tried.

        Raises:
            FailedTrialError: No smaller values are within the limits.
        """
        self.declare_hyperparameters(hp)
        values = self.make_legal({name: hp.get(name) for name in self.space.dimensions})
        problems = self.find_problems(values)
        if problems:
            raise keras_tuner.errors.FailedTrialError("; ".join(problems))
        return values

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        """Returns a compiled model of `built_values(hp)`.

        Raises:
            FailedTrialError: No smaller values are within the limits; nothing was built.
        """
        values = self.built_values(hp)
        recipe = self._make_constant_recipe(values)
        model = self.make_model(values, data=None, recipe=recipe)
        model.compile(**recipe.compile_kwargs())
        model.optimizer.build(model.trainable_variables)  # or keras-tuner's load_weights warns of its variables
        return model

    def fit(self, hp: keras_tuner.HyperParameters, model: keras.Model, *args: Any, **kwargs: Any) -> Any:
        """Trains with the batch size, the augmentation and the schedule of the values.

        A model that was compiled otherwise than by `build` keeps its optimizer and loss. Batches that were made elsewhere, such as a
        `tf.data.Dataset`, are used as they are.

        Args:
            hp: The hyperparameters.
            model: Returned by `build`.
            *args: For `model.fit`: `ImageData`, which has its own validation images, arrays of images and labels, or batches.
            **kwargs: For `model.fit`.

        Raises:
            NoEffectError: The space tunes something that cannot have an effect on this data.
        """
        values = self.built_values(hp)
        given = dict(zip(("x", "y"), args, strict=False)) | kwargs
        train, labels = given.pop("x", None), given.pop("y", None)
        if isinstance(train, ImageData):
            data = train
        elif isinstance(train, np.ndarray) and isinstance(labels, np.ndarray):
            ignored = sorted(given.keys() & {"batch_size", "validation_split"})
            if ignored:
                raise NoEffectError(
                    f"{' and '.join(ignored)} can have no effect: the batch size is a hyperparameter, which space={{'batch_size': 32}} fixes, "
                    "and validation images come from validation_data, or are held out without it."
                )
            data = self.load_data((train, labels), given.pop("validation_data", None))
        else:
            self._check_nothing_tuned_of_batches()
            return model.fit(*args, **kwargs)
        epochs, first = int(given.get("epochs", 1)), int(given.get("initial_epoch", 0))
        batch_size = min(int(values.get("batch_size", data.batch_size)), len(data.splits["train"]))
        data = self.prepare_data(values, replace(data, batch_size=batch_size))
        if data.task == "regression":
            raise NoEffectError(
                f"{data.name}: keras-tuner's own tuners build a model before they know the scale of the numbers; use vk.tuning.search or "
                "ViTTuner for a regression."
            )
        recipe = self.make_recipe(values, epochs=epochs, steps_per_epoch=data.steps_per_epoch)
        recipe = fit_task(recipe, data.splits["train"].labels)
        as_built = self._make_constant_recipe(values).compile_kwargs()
        if _describe_compilation(optimizer=model.optimizer, loss=model.loss) == _describe_compilation(**as_built):
            model.compile(**recipe.compile_kwargs())
        batches = data.training_batches(epochs=epochs - first, augmentation=recipe.augmentation, first_epoch=first)
        own = {"steps_per_epoch": data.steps_per_epoch, "validation_data": data.validation}
        return model.fit(batches, **{**own, **given})

    def _load_images(self, train: Any, validation: Any, *, image_size: tuple[int, int], channels: int) -> ImageData:
        """Returns images of this size; refuses those of another size or number of classes."""
        data = load_images(train, validation, image_size=image_size, channels=channels)
        if data.image_shape != (*image_size, channels) or len(data.class_names) != self.num_classes:
            raise InvalidArgumentError(
                f"{data.name} has images of {data.image_shape} and {len(data.class_names)} classes; the hypermodel needs "
                f"{(*image_size, channels)} and {self.num_classes}."
            )
        return data

    def _make_constant_recipe(self, values: Values) -> Recipe:
        """Returns a recipe for a run of unknown length, with a constant learning rate after one step of warm-up.

        The optimizer has the same variables as with a schedule, so `load_weights` accepts a checkpoint that `fit` saved.
        """
        return self.make_recipe(values, epochs=1, steps_per_epoch=1).replace(schedule="constant", warmup_rate=_ONE_STEP)

    def _check_nothing_tuned_of_batches(self) -> None:
        """Refuses dimensions that have no effect on batches that were made elsewhere."""
        ends = {name: {each.from_unit(0.0), each.from_unit(1.0)} for name, each in self.space.dimensions.items()}
        tuned = [name for name in ("batch_size", "augmentation") if len(ends.get(name, ())) > 1]
        if tuned:
            raise NoEffectError(
                f"{' and '.join(tuned)} can have no effect on batches: pass ImageData or arrays of images and labels, or fix it in the space, "
                "as in space={'batch_size': 32, 'augmentation': 'none'}."
            )
        if not ends.get("augmentation", {"none"}) <= {"none"}:
            raise NoEffectError(
                f"augmentation={self.space.dimensions['augmentation'].from_unit(0.0)!r} can have no effect on batches: pass ImageData or arrays "
                "of images and labels, or fix it as space={'augmentation': 'none'}."
            )


def _describe_compilation(*, optimizer: Any, loss: Any, **other: Any) -> Any:
    """Returns optimizer and loss in a form that can be compared; Keras numbers the names of optimizers."""
    serialized = keras.optimizers.serialize(optimizer)
    return {**serialized["config"], "name": serialized["class_name"]}, keras.losses.serialize(loss)


def load_images(
    train: Any,
    validation: Any = None,
    *,
    image_size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    options: Mapping[str, Any] | None = None,
) -> ImageData:
    """Returns the images of a search, resized (px) and converted to `channels` unless these are None; `options` are for `vk.data.load`.

    Where `validation` is None, `train` has all splits, or a part is held out.
    """
    options = options or {}
    if isinstance(train, ImageData):
        if validation is not None:
            raise InvalidArgumentError("This ImageData has a validation split already; leave validation out.")
        return train if options.get("limit") is None else train.limit(options["limit"])
    source = train if validation is None else {"train": train, "validation": validation, "test": validation}
    return data_sources.load(source, image_size=image_size, channels=channels, **options)
