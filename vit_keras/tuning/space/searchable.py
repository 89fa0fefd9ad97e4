"""How values become a model and a way to train it: what our search and every tuner of keras-tuner ask a hypermodel."""

import functools
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
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
from vit_keras.tuning.space.latency import Latencies
from vit_keras.tuning.space.limits import Limits
from vit_keras.tuning.space.search_space import Choice, IntRange, SearchSpace, Values

_ONE_STEP = 0.9  # of one step, rounded


class Searchable(keras_tuner.HyperModel):
    """What our search and keras-tuner's tuners both can ask: how values become a model and a way to train it.

    Args:
        space: What is tuned.
        num_classes: Classes of the head.
        limits: The most a model may cost.
    """

    def __init__(self, space: SearchSpace, *, num_classes: int, limits: Limits) -> None:
        super().__init__(name="vit", tunable=True)
        if type(num_classes) is not int or num_classes < 1:
            raise InvalidArgumentError(f"num_classes={num_classes!r} is not a positive whole number.")
        self.space = space
        self.num_classes = num_classes
        self.limits = limits

    def model_config(self, values: Mapping[str, Any]) -> ViTConfig:
        """Returns the shape that values stand for; nothing is built."""
        raise NotImplementedError

    def recipe_of(self, values: Mapping[str, Any], *, epochs: int, steps_per_epoch: int) -> Recipe:
        """Returns the way to train that values stand for."""
        raise NotImplementedError

    def model_of(self, values: Mapping[str, Any], *, data: ImageData | None, recipe: Recipe) -> keras.Model:
        """Returns a new model."""
        raise NotImplementedError

    def finished(self, model: keras.Model, values: Mapping[str, Any]) -> keras.Model:
        """Returns what is kept of a trained model."""
        return model

    def default_values(self) -> Values:
        """Returns what is tried first."""
        raise NotImplementedError

    def fitted(self, values: Mapping[str, Any]) -> Values:
        """Returns values that can be built: the same, or with what does not go together or is too large made smaller."""
        return dict(values)

    def data_of(self, train: Any, validation: Any = None) -> ImageData:
        """Returns images at the size that is searched for."""
        raise NotImplementedError

    def data_for(self, values: Mapping[str, Any], data: ImageData) -> ImageData:
        """Returns the images as a trial takes them."""
        return data

    def fingerprint(self) -> dict[str, Any]:
        """Returns what makes this another search than others, as JSON holds it."""
        return {
            "kind": type(self).__name__,
            "space": self.space.to_dict(),
            "limits": asdict(self.limits),
            "num_classes": self.num_classes,
        }

    def overrides(self, name: str) -> bool:
        """Returns whether this is a subclass that builds or fits in its own way.

        Args:
            name: "build" or "fit".
        """
        return getattr(type(self), name) is not getattr(Searchable, name)

    @functools.cached_property
    def latencies(self) -> Latencies:
        """What was measured of shapes."""
        return Latencies()

    def problems(self, values: Mapping[str, Any]) -> list[str]:
        """Returns why values can't be tried; nothing where they can.

        Args:
            values: Of the space.
        """
        config = self.model_config(values)
        batch_size = int(values.get("batch_size", 1))
        found = list(self.limits.problems(config, num_classes=self.num_classes, batch_size=batch_size))
        if not found and self.limits.latency is not None:
            latency = self.latencies.of(config, num_classes=self.num_classes)
            if latency > self.limits.latency:
                found = [f"{1e3 * latency:.3g} ms an image are over the limit of {1e3 * self.limits.latency:.3g} ms"]
        return found

    def costs(self, values: Mapping[str, Any]) -> dict[str, float]:
        """Returns what is known of values before they are trained: "params", "macs", and "latency" where that is limited.

        Args:
            values: Of the space.
        """
        config = self.model_config(values)
        cost = model_cost(config, num_classes=self.num_classes)
        found = {"params": float(cost["parameters"]), "macs": float(cost["macs"])}
        if self.limits.latency is not None:
            found["latency"] = self.latencies.of(config, num_classes=self.num_classes)
        return found

    def key(self, values: Mapping[str, Any]) -> str:
        """Returns the same word for values that train the same.

        Args:
            values: Of the space.
        """
        return json.dumps(dict(values), sort_keys=True)

    def draw(self, rng: np.random.Generator) -> Values:
        """Returns values drawn at random, fitted.

        Args:
            rng: Draws.
        """
        return self.fitted(self.space.sample(rng))

    def sample(self, count: int, seed: int = 0) -> list[tuple[Values, ViTConfig]]:
        """Returns different values with the shapes they stand for, all within the limits; nothing is built.

        Args:
            count: How many; fewer where the space has no more.
            seed: Decides the draws.
        """
        rng, found = np.random.default_rng(seed), dict[str, Values]()
        for _ in range(20 * count):
            if len(found) == count:
                break
            values = self.draw(rng)
            if not self.problems(values):
                found.setdefault(self.key(values), values)
        return [(values, self.model_config(values)) for values in found.values()]

    def declare_hyperparameters(self, hp: keras_tuner.HyperParameters) -> None:
        """Tells keras-tuner the space; nothing is built.

        Args:
            hp: What it is told to.
        """
        for name, dimension in self.space.dimensions.items():
            default = self.default_values()[name]
            if isinstance(dimension, Choice):
                hp.Choice(
                    name, list(dimension.values), default=default, **({"ordered": True} if dimension.is_ordered else {})
                )
            elif isinstance(dimension, IntRange):
                hp.Int(name, dimension.low, dimension.high, step=dimension.step, default=default)
            else:
                hp.Float(
                    name, dimension.low, dimension.high, sampling="log" if dimension.log else "linear", default=default
                )

    def built_values(self, hp: keras_tuner.HyperParameters) -> Values:
        """Returns what `build` makes of hyperparameters: the same values, or where they are over a limit those that fit.

        `hp` itself stays as asked, since a tuner tells by it what it tried.

        Args:
            hp: Values.

        Raises:
            FailedTrialError: No size of it is within the limits.
        """
        self.declare_hyperparameters(hp)
        values = self.fitted({name: hp.get(name) for name in self.space.dimensions})
        found = self.problems(values)
        if found:
            raise keras_tuner.errors.FailedTrialError("; ".join(found))
        return values

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        """Returns a compiled model of `built_values(hp)`, as keras-tuner's own tuners ask for.

        Args:
            hp: Values.

        Raises:
            FailedTrialError: No size of it is within the limits; nothing was built.
        """
        values = self.built_values(hp)
        recipe = self._unscheduled(values)
        model = self.model_of(values, data=None, recipe=recipe)
        model.compile(**recipe.compile_kwargs())
        model.optimizer.build(
            model.trainable_variables
        )  # else loading a checkpoint of keras-tuner's warns of its state
        return model

    def fit(self, hp: keras_tuner.HyperParameters, model: keras.Model, *args: Any, **kwargs: Any) -> Any:
        """Trains as `model.fit` is asked to, with the batch size and the augmentation of the values.

        A model that is compiled as `build` compiles it gets the schedule of a run of that length; one that a tuner or an own `build`
        compiled otherwise stays so. Batches that were made elsewhere, such as a `tf.data.Dataset`, are taken as they are.

        Args:
            hp: Values.
            model: What `build` returned.
            *args: For `model.fit`: `ImageData`, which brings its own validation images, arrays of images and labels, or batches.
            **kwargs: For `model.fit`.

        Raises:
            NoEffectError: The space tunes what these images leave no room for.
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
                    f"{' and '.join(ignored)} can have no effect: the batch size is a hyperparameter, fixed by space={{'batch_size': 32}}, "
                    "and validation images are those of validation_data, or held out without it."
                )
            data = self.data_of((train, labels), given.pop("validation_data", None))
        else:
            self._check_nothing_tuned_of_batches()
            return model.fit(*args, **kwargs)
        return self._fit_images(values, model, data, given)

    def _fit_images(self, values: Values, model: keras.Model, data: ImageData, given: dict[str, Any]) -> Any:
        epochs, first = int(given.get("epochs", 1)), int(given.get("initial_epoch", 0))
        data = self.data_for(values, _in_batches(data, values))
        recipe = self.recipe_of(values, epochs=epochs, steps_per_epoch=data.steps_per_epoch)
        as_built = self._unscheduled(values).compile_kwargs()
        if _compiled_as(optimizer=model.optimizer, loss=model.loss) == _compiled_as(**as_built):
            model.compile(**recipe.compile_kwargs())
        batches = data.training_batches(epochs=epochs - first, augmentation=recipe.augmentation, first_epoch=first)
        own = {"steps_per_epoch": data.steps_per_epoch, "validation_data": data.validation}
        return model.fit(batches, **{**own, **given})

    def _unscheduled(self, values: Values) -> Recipe:
        """Returns the way to train values before the length of the run is known: at one rate, after a step of warm-up.

        A rate that is a schedule is no variable of the optimizer, so that `load_weights` takes what `fit` trained by another schedule.
        """
        return self.recipe_of(values, epochs=1, steps_per_epoch=1).replace(schedule="constant", warmup_rate=_ONE_STEP)

    def _check_nothing_tuned_of_batches(self) -> None:
        """Refuses hyperparameters that batches made elsewhere would ignore."""
        ends = {name: {each.from_unit(0.0), each.from_unit(1.0)} for name, each in self.space.dimensions.items()}
        vain = [name for name in ("batch_size", "augmentation") if len(ends.get(name, ())) > 1]
        if vain:
            raise NoEffectError(
                f"{' and '.join(vain)} can have no effect on batches that are made already: pass ImageData or arrays of images and labels, "
                "or fix them in the space, as in space={'batch_size': 32, 'augmentation': 'none'}."
            )
        if not ends.get("augmentation", {"none"}) <= {"none"}:
            raise NoEffectError(
                f"The augmentation {self.space.dimensions['augmentation'].from_unit(0.0)!r} can have no effect on batches that are made "
                "already: pass ImageData or arrays of images and labels, or fix it as space={'augmentation': 'none'}."
            )


class NoEffectError(InvalidArgumentError, keras_tuner.errors.FatalError):
    """Something was asked for that a search would ignore; keras-tuner's tuners end at it, too."""


def _compiled_as(*, optimizer: Any, loss: Any, **other: Any) -> Any:
    """Returns what a model is compiled with so that it can be compared; names of optimizers count themselves."""
    serialized = keras.optimizers.serialize(optimizer)
    return {**serialized["config"], "name": serialized["class_name"]}, keras.losses.serialize(loss)


def _in_batches(data: ImageData, values: Mapping[str, Any]) -> ImageData:
    size = min(int(values.get("batch_size", data.batch_size)), len(data.splits["train"]))
    return replace(data, batch_size=size)


def load(
    train: Any, validation: Any = None, *, image_size: tuple[int, int] | None = None, channels: int | None = None
) -> ImageData:
    """Returns images to search with.

    Args:
        train: `ImageData`, or what `vk.data.load` takes.
        validation: Likewise; None where `train` has all splits, else a part is held out.
        image_size: Height and width they are brought to, px; None for as they are.
        channels: Likewise.
    """
    if isinstance(train, ImageData):
        if validation is not None:
            raise InvalidArgumentError("This ImageData has a validation split already; leave validation out.")
        return train
    source = train if validation is None else {"train": train, "validation": validation, "test": validation}
    return data_sources.load(source, image_size=image_size, channels=channels)
