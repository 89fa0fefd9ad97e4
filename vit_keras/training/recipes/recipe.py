"""How a model is trained, as data.

A recipe is plain numbers, printable and written into `run.json`. `prepare`, `compile_kwargs`, `batches` and `callbacks` are what a run
does with them, for those who call `model.fit` themselves.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from vit_keras.data.augment.augmentation import Augmentation, augmentation_of
from vit_keras.errors import InvalidArgumentError
from vit_keras.training.recipes.clock import EpochClock
from vit_keras.validation import FrozenConfig, is_number

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from vit_keras.data import ImageData

OPTIMIZERS = ("adamw", "muon", "lion", "lamb", "sgd")
METHODS = ("full", "head_first", "last_blocks", "bias", "adapters", "linear_probe", "nearest_neighbours")
_CHOICES = {
    "optimizer": OPTIMIZERS,
    "schedule": ("cosine", "linear", "constant"),
    "loss": ("crossentropy", "binary_crossentropy"),
    "method": METHODS,
}
_FRACTIONS = ("warmup_rate", "label_smoothing", "beta_2", "momentum", "stochastic_depth_rate", "average_decay")
_COUNTS = ("epochs", "steps_per_epoch", "accumulation", "patience")
_OPTIONAL = ("stochastic_depth_rate", "average_decay", "patience")


@dataclass(frozen=True)
class Choice:
    """One thing that was decided.

    Args:
        what: Its name.
        value: What it is.
        reason: Why.
    """

    what: str
    value: Any
    reason: str


@dataclass(frozen=True, kw_only=True)
class Recipe(FrozenConfig):
    """How to train a Vision Transformer for a known number of steps.

    Args:
        name: What it is called.
        source: Where its numbers are from.
        expected: The result to expect, and where that is from.
        method: What is trained: "full", everything; "head_first", the head alone until it fits, then everything; "last_blocks",
            "bias" and "adapters", those and the head; "linear_probe", the head; "nearest_neighbours", nothing.
        epochs: Passes over the training images.
        steps_per_epoch: Training batches an epoch.
        accumulation: Batches an optimizer step, which sees the mean of their gradients.
        optimizer: "adamw", "muon" (whose matrices get orthogonalised updates, and all else AdamW's), "lion", "lamb" or "sgd".
        learning_rate: The highest, after the warm-up.
        schedule: After the warm-up: "cosine" or "linear" down to zero, or "constant".
        warmup_rate: Fraction of the steps in which the learning rate rises from zero.
        weight_decay: Per optimizer step and unit of learning rate; biases, norms, scales, positions and tokens have none.
        momentum: Fraction of the last step that "sgd" takes again.
        beta_2: Decay of the second moment of "adamw", "lamb" and what "muon" leaves to AdamW.
        layer_decay: Factor of the rate a layer, from the head down; 1 for the same rate everywhere.
        clip_norm: Largest norm of all gradients together; None for no limit.
        loss: "crossentropy", or "binary_crossentropy" with every class a yes or a no of its own.
        label_smoothing: Fraction of the target spread over all classes.
        class_weights: Factor of the loss of each class; None for 1.
        augmentation: What is done to each training image, or the name of a strength, such as "light".
        stochastic_depth_rate: Fraction of the images for which the last block is skipped; None for the model's own.
        average_decay: Fraction of the weights' running average that stays at a step, and is what is validated and kept; None for
            no average.
        patience: Epochs without a better validation loss after which training ends; the best epoch's weights are then put back, as
            they are after the last epoch. None trains to the end and keeps what is there.
        seed: Decides a new head, stochastic depth, dropout, the order of the images and their augmentation.
        choices: What was decided for the model and data that the recipe is sized to, and why.
        data: Those data, for `prepare` and `batches`; no part of what is compared, printed or written.

    Raises:
        InvalidArgumentError: A field is not legal; every such field is named.

    Example:
        >>> recipe = Recipe(name="mine", source="", epochs=10, steps_per_epoch=100)
        >>> sorted(recipe.compile_kwargs())
        ['loss', 'metrics', 'optimizer']
    """

    name: str
    source: str
    expected: str = ""
    method: str = "full"
    epochs: int
    steps_per_epoch: int
    accumulation: int = 1
    optimizer: str = "adamw"
    learning_rate: float = 1e-3
    schedule: str = "cosine"
    warmup_rate: float = 0.1
    weight_decay: float = 0.05
    momentum: float = 0.9
    beta_2: float = 0.999
    layer_decay: float = 1.0
    clip_norm: float | None = 1.0
    loss: str = "crossentropy"
    label_smoothing: float = 0.1
    class_weights: tuple[float, ...] | None = None
    augmentation: Augmentation = field(default_factory=Augmentation)
    stochastic_depth_rate: float | None = None
    average_decay: float | None = None
    patience: int | None = None
    seed: int = 0
    choices: tuple[Choice, ...] = field(default=(), compare=False, repr=False)
    data: "ImageData | None" = field(default=None, compare=False, repr=False)
    clock: EpochClock = field(init=False, compare=False, repr=False)
    """The epoch that the next batches are of, which `callbacks` tells `batches`."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "clock", EpochClock())
        wrong = _problems(self.__dict__)
        try:
            object.__setattr__(self, "augmentation", augmentation_of(self.augmentation))
        except InvalidArgumentError as error:
            wrong.append(f"augmentation={self.augmentation!r}: {str(error).rstrip('.')}")
        if wrong:
            raise InvalidArgumentError(f"The recipe {self.name!r} can't be used: {'; '.join(wrong)}.")

    @property
    def optimizer_steps(self) -> int:
        """Steps that the optimizer takes in all, one for each `accumulation` batches."""
        return max(self.epochs * self.steps_per_epoch // self.accumulation, 1)

    def prepare(self, model: "keras.Model", data: "ImageData | None" = None) -> "keras.Model":
        """Returns a copy of a model that this recipe can train, as a run has it; it is not compiled.

        It has a head for the data's classes, fitted to the features where the method begins so, the recipe's stochastic depth, frozen
        what does not train, and adapters. What is drawn comes of the recipe's seed; the caller's random state stays as it is.

        Args:
            model: What `vit` or `from_preset` made.
            data: What it is going to be trained on; by default the data that the recipe was made for.

        Raises:
            InvalidArgumentError: The model is none of ours, or the method needs data, or nothing of the kind.
        """
        from vit_keras.training.preparing import prepare

        return prepare(model, self, data or self.data)

    def batches(self, data: "ImageData | None" = None) -> "tf.data.Dataset":
        """Returns the training batches of an epoch for `model.fit`, ordered and augmented as a run has them.

        Each time they are read they are of the epoch that the first of `callbacks()` tells, else of the next one.

        Args:
            data: By default the data that the recipe was made for.

        Raises:
            InvalidArgumentError: The recipe is for epochs of another length, or it has no batches.
        """
        data = data or self.data
        if data is None:
            raise InvalidArgumentError(f"The recipe {self.name!r} was not made for data: recipe.batches(data).")
        if self.method in ("linear_probe", "nearest_neighbours"):
            raise InvalidArgumentError(f"{self.name!r} trains on no batches: the model that `prepare` returns is done.")
        return self.seeded(data).epoch_batches(self.clock.next_epoch, augmentation=self.augmentation)

    def seeded(self, data: "ImageData") -> "ImageData":
        """Returns data in the order of the recipe's seed, in batches that are no larger than what there is to train on.

        Args:
            data: What is trained on.

        Raises:
            InvalidArgumentError: The recipe is for epochs of another length.
        """
        data = replace(data, seed=self.seed, batch_size=min(data.batch_size, len(data.splits["train"])))
        if data.steps_per_epoch != self.steps_per_epoch:
            raise InvalidArgumentError(
                f"The recipe {self.name!r} is for epochs of {self.steps_per_epoch} steps, and {data.name} has {data.steps_per_epoch} of "
                f"{data.batch_size} images: make the recipe of these data, vk.recipes.{self.name}(model, data)."
            )
        return data

    def compile_kwargs(self) -> dict[str, Any]:
        """Returns a new optimizer, the loss and the accuracy, for `model.compile(**...)`; labels may be whole numbers or mixed targets."""
        from vit_keras.training.losses.crossentropy import BinaryCrossentropy, SmoothedCrossentropy
        from vit_keras.training.losses.metrics import Accuracy

        kind = SmoothedCrossentropy if self.loss == "crossentropy" else BinaryCrossentropy
        return {
            "optimizer": self._optimizer(),
            "loss": kind(self.label_smoothing, class_weights=self.class_weights),
            "metrics": [Accuracy()],
        }

    def callbacks(self) -> "list[keras.callbacks.Callback]":
        """Returns new callbacks for `model.fit(callbacks=...)`, after which the model has the weights that a run would keep.

        They tell `batches` the epoch, end at the first loss that is no number, and keep the average and the best epoch's weights.
        """
        import keras

        from vit_keras.training.callbacks.epoch_clock import TellEpoch

        return [TellEpoch(self.clock), keras.callbacks.TerminateOnNaN(), *self.weight_callbacks()]

    def weight_callbacks(self) -> "list[keras.callbacks.Callback]":
        """Returns those of the callbacks that decide which weights are kept: the average's and the best epoch's."""
        from vit_keras.training.callbacks.averaging import ExponentialMovingAverage
        from vit_keras.training.callbacks.best_weights import RestoreBestWeights

        average = None if self.average_decay is None else ExponentialMovingAverage(self.average_decay)
        best = None if self.patience is None else RestoreBestWeights(patience=self.patience, average=average)
        return [callback for callback in (average, best) if callback is not None]

    def _optimizer(self) -> "keras.optimizers.Optimizer":
        from vit_keras.training.optim import optimizers
        from vit_keras.training.optim.schedules import make_schedule

        steps = self.optimizer_steps
        schedule = make_schedule(
            self.schedule, self.learning_rate, steps=steps, warmup_steps=round(self.warmup_rate * steps)
        )
        own: dict[str, Any] = {"momentum": self.momentum} if self.optimizer == "sgd" else {"beta_2": self.beta_2}
        if self.optimizer == "lion":
            own = {}  # its second number is no second moment's; the paper's own stands
        kinds = {
            "adamw": optimizers.AdamW,
            "muon": optimizers.Muon,
            "lion": optimizers.Lion,
            "lamb": optimizers.Lamb,
            "sgd": optimizers.SGD,
        }
        return kinds[self.optimizer](
            schedule,
            weight_decay=self.weight_decay,
            layer_decay=self.layer_decay,
            global_clipnorm=self.clip_norm,
            gradient_accumulation_steps=self.accumulation if self.accumulation > 1 else None,
            **own,
        )

    def replace(self, **changes: Any) -> "Recipe":
        """Returns a copy with these fields changed, without the reasons of the fields that are no longer as they were chosen.

        Args:
            **changes: Values by field name.

        Raises:
            InvalidArgumentError: A field is unknown, or a value is not legal.

        Example:
            >>> Recipe(name="mine", source="", epochs=10, steps_per_epoch=100).replace(epochs=3).epochs
            3
        """
        kept = tuple(choice for choice in self.choices if choice.what not in changes)
        return replace(super().replace(**changes), choices=kept)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Recipe":
        """Returns the recipe that `to_dict` wrote; see `FrozenConfig.from_dict`.

        Example:
            >>> recipe = Recipe(name="mine", source="", epochs=10, steps_per_epoch=100)
            >>> Recipe.from_dict(recipe.to_dict()) == recipe
            True
        """
        augmentation = values.get("augmentation", {})
        if isinstance(augmentation, Mapping):
            augmentation = Augmentation.from_dict(augmentation)
        return super().from_dict({**values, "augmentation": augmentation})


def _problems(values: Mapping[str, Any]) -> list[str]:
    wrong = [
        f"{name}={values[name]!r} is no text"
        for name in ("name", "source", "expected")
        if type(values[name]) is not str
    ]
    given = {name: value for name, value in values.items() if not (name in _OPTIONAL and value is None)}
    wrong += [
        f"{name}={given[name]!r} is not a positive whole number"
        for name in _COUNTS
        if name in given and (type(given[name]) is not int or given[name] < 1)
    ]
    wrong += [
        f"{name}={given[name]!r} is not in [0, 1)"
        for name in _FRACTIONS
        if name in given and (not is_number(given[name]) or not 0 <= given[name] < 1)
    ]
    wrong += [
        f"{name}={values[name]!r} is not a number from 0 up"
        for name in ("learning_rate", "weight_decay")
        if not is_number(values[name]) or values[name] < 0
    ]
    wrong += [
        f"{name}={values[name]!r} is none of {list(choices)}"
        for name, choices in _CHOICES.items()
        if values[name] not in choices
    ]
    if type(values["seed"]) is not int or not 0 <= values["seed"] < 2**31:
        wrong.append(f"seed={values['seed']!r} is not a whole number from 0 to {2**31 - 1}")
    if not is_number(values["layer_decay"]) or not 0 < values["layer_decay"] <= 1:
        wrong.append(f"layer_decay={values['layer_decay']!r} is not a number above 0 and 1 at most")
    if values["clip_norm"] is not None and (not is_number(values["clip_norm"]) or values["clip_norm"] <= 0):
        wrong.append(f"clip_norm={values['clip_norm']!r} is neither None nor a positive number")
    weights = values["class_weights"]
    if weights is not None and not (
        isinstance(weights, tuple) and weights and all(is_number(weight) and weight > 0 for weight in weights)
    ):
        wrong.append(f"class_weights={weights!r} is neither None nor a positive number a class")
    return wrong
