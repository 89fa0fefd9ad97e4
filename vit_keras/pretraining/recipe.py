"""`PretrainingRecipe`: how an encoder is pre-trained, as data; the published ones, and how they are adapted to images."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

from vit_keras.data.augment.augmentation import Augmentation
from vit_keras.errors import InvalidArgumentError
from vit_keras.pretraining.methods import METHODS, Method
from vit_keras.training.recipes.optimization import OptimizationSettings
from vit_keras.training.recipes.recipe import Choice
from vit_keras.validation import closest, list_words

VIEWS, EPOCHS = 8_000_000, (100, 800)
"""Images times epochs that a run aims at, and the fewest and most epochs: published gains of small models come at 400 to 2,000 epochs."""


@dataclass(frozen=True, kw_only=True)
class PretrainingRecipe(OptimizationSettings):
    """How an encoder is pre-trained on images without labels, for a fixed number of steps.

    Args:
        name: Its name.
        source: Where its numbers are from.
        expected: The result to expect, and where that is from.
        method: The pre-training method: "mae".
        options: Arguments of the method's class, such as `mask_ratio`.
        epochs: Training epochs.
        steps_per_epoch: Training batches per epoch.
        accumulation: Batches per optimizer step, as for `Recipe`, as all further fields are.
        optimizer: "adamw", "muon", "lion", "lamb" or "sgd".
        learning_rate: The peak learning rate, after the warm-up.
        schedule: "cosine", "linear" or "constant".
        warmup_rate: Fraction of the steps in which the learning rate rises from zero.
        weight_decay: Per optimizer step, times the learning rate.
        momentum: Of "sgd".
        beta_2: Decay of the second moment.
        layer_decay: Factor of the learning rate per layer; 1 for the same rate in all layers.
        clip_norm: Largest global norm of the gradients; None for no limit.
        augmentation: What is done to each training image.
        average_decay: Decay of an exponential moving average of the weights; None for no average.
        patience: Epochs without a better validation loss after which training stops; None trains all epochs.
        seed: Random seed.

    Raises:
        InvalidArgumentError: Fields are not legal; all of them are named.

    Example:
        >>> PretrainingRecipe(name="mine", source="", epochs=10, steps_per_epoch=100, options={"mask_ratio": 0.6}).method
        'mae'
    """

    method: str = "mae"
    options: Mapping[str, Any] = field(default_factory=dict)

    def _find_problems(self) -> list[str]:
        problems = super()._find_problems()
        if self.method not in METHODS:
            problems.append(f"method={self.method!r} is not one of {list_words(METHODS)}")
        if isinstance(self.augmentation, Augmentation) and self.augmentation.mixes:
            problems.append("augmentation mixes images (MixUp, CutMix), which needs labels")
        return problems


@dataclass(frozen=True, kw_only=True)
class PublishedRecipe:
    """A pre-training recipe as it was published, before it is adapted to images."""

    name: str
    summary: str
    learning_rate_images: int | None
    learning_rate_width: int | None
    fields: Mapping[str, Any]

    @property
    def rules(self) -> dict[str, str]:
        """How fields depend on the run, by name."""
        images, width = self.learning_rate_images, self.learning_rate_width
        rules = [] if images is None else [f"for {images} images per batch, in proportion"]
        rules += [] if width is None else [f"at width {width}; the wider, the lower in proportion"]
        return {"learning_rate": ", ".join(rules)} if rules else {}

    def size_learning_rate(self, *, batch_size: int, hidden_dim: int) -> Choice | None:
        """Returns the learning rate for a batch and a width, and why; None where it is as published."""
        rule, published = self.rules.get("learning_rate"), float(self.fields["learning_rate"])
        if rule is None:
            return None
        rate = published * batch_size / (self.learning_rate_images or batch_size)
        rate *= (self.learning_rate_width or hidden_dim) / hidden_dim
        return Choice("learning_rate", float(f"{rate:.3g}"), f"{published:g} {rule}")

    def unsized(self, *, epochs: int, steps_per_epoch: int) -> PretrainingRecipe:
        """Returns the recipe as published."""
        return PretrainingRecipe(
            name=self.name, method=self.name, epochs=epochs, steps_per_epoch=steps_per_epoch, **self.fields
        )


def plan_pretraining(
    method: Method,
    *,
    images: int,
    batch_size: int,
    steps_per_epoch: int,
    hidden_dim: int,
    epochs: int | None = None,
    changes: Mapping[str, Any] | None = None,
) -> tuple[PretrainingRecipe, tuple[Choice, ...]]:
    """Returns the recipe of a method for a number of training images, and what was chosen, with reasons.

    Args:
        method: The method.
        images: Number of training images.
        batch_size: Images per batch.
        steps_per_epoch: Training batches per epoch.
        hidden_dim: Width of the encoder.
        epochs: Training epochs; None to choose by the number of images.
        changes: Fields of the recipe and options of the method to use instead of the recipe's.

    Raises:
        InvalidArgumentError: A change is neither a field nor an option, or its value is not legal.
    """
    published, changes = RECIPES[method.name], dict(changes or {})
    choices = [Choice("method", method.name, published.summary.splitlines()[0].rstrip("."))]
    if epochs is None:
        epochs = choose_epochs(images)
        reason = f"{images:,} images seen {images * epochs:,} times in all; published gains come at 400 to 2,000 epochs"
        choices.append(Choice("epochs", epochs, reason))
    else:
        choices.append(Choice("epochs", epochs, "as asked"))
    options = {name: changes.pop(name) for name in method.list_options() if name in changes}
    _check_names(changes, method)
    recipe = published.unsized(epochs=epochs, steps_per_epoch=steps_per_epoch)
    sized = published.size_learning_rate(batch_size=batch_size, hidden_dim=hidden_dim)
    if sized is not None and "learning_rate" not in changes:
        recipe = recipe.replace(learning_rate=sized.value)
        choices.append(sized)
    recipe = recipe.replace(options={**recipe.options, **options}, **changes)
    asked = {name: value for name, value in {**options, **changes}.items() if name != "seed"}
    return recipe, (*choices, *(Choice(name, value, "as asked") for name, value in asked.items()))


def choose_epochs(images: int) -> int:
    """Returns the number of epochs for a number of training images: fewer for more images.

    >>> choose_epochs(2_000), choose_epochs(20_000), choose_epochs(1_000_000)
    (800, 400, 100)
    """
    fewest, most = EPOCHS
    return min(max(round(VIEWS / images), fewest), most)


def _check_names(changes: Mapping[str, Any], method: Method) -> None:
    options = method.list_options()
    known = [*PretrainingRecipe.__dataclass_fields__, *options]
    fixed = {"name", "method", "source", "expected", "options", "epochs", "steps_per_epoch"}
    unknown = [name for name in changes if name not in known or name in fixed]
    if unknown:
        near = closest(unknown[0], [name for name in known if name not in fixed], count=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise InvalidArgumentError(
            f"{', '.join(map(repr, unknown))}: neither a field of the recipe nor an option of {method.name}.{hint} Its options are "
            f"{', '.join(options)}."
        )


def _parse(name: str, values: dict[str, Any]) -> PublishedRecipe:
    summary, images = values.pop("summary").strip(), values.pop("learning_rate_images", None)
    width = values.pop("learning_rate_width", None)
    fields: dict[str, Any] = {key: None if value == "none" else value for key, value in values.items()}
    if isinstance(fields.get("augmentation"), dict):
        fields["augmentation"] = Augmentation.from_dict(fields["augmentation"])
    return PublishedRecipe(
        name=name, summary=summary, learning_rate_images=images, learning_rate_width=width, fields=fields
    )


_TABLE = tomllib.loads(files(__package__).joinpath("recipes.toml").read_text("utf-8"))
RECIPES = {name: _parse(name, values) for name, values in _TABLE.items()}
"""The published recipes by the name of their method."""
