"""`Recipe`: how to train a model, as data that `run.json` holds, with the steps of a run for your own `model.fit`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from vit_keras.data.augment.augmentation import Augmentation, resolve_augmentation
from vit_keras.errors import InvalidArgumentError
from vit_keras.validation import FrozenConfig, is_number

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from vit_keras.data import ImageData

_CHOICES = {
    "optimizer": ("adamw", "muon", "lion", "lamb", "sgd"),
    "schedule": ("cosine", "linear", "constant"),
    "loss": ("crossentropy", "binary_crossentropy"),
    "method": ("full", "head_first", "last_blocks", "bias", "lora", "linear_probe"),
}
RENAMED = {"adapters": "lora"}  # recipes and methods of earlier versions


@dataclass(frozen=True)
class Choice:
    """One value that was chosen for a model and data."""

    what: str
    value: Any
    reason: str


class EpochClock:
    """Counts the epochs whose batches are read. Keras may read a batch before training, so `TellEpoch` sets `epoch` again."""

    def __init__(self) -> None:
        self.epoch = 0

    def next_epoch(self) -> int:
        """Returns the epoch to read now."""
        epoch, self.epoch = self.epoch, self.epoch + 1
        return epoch


@dataclass(frozen=True, kw_only=True)
class Recipe(FrozenConfig):
    """How to train a Vision Transformer for a fixed number of steps.

    Args:
        name: Its name.
        source: Where its numbers are from.
        expected: The result to expect, and where that is from.
        method: What is trained: "full", all weights; "head_first", the head until it fits, then all weights; "last_blocks",
            "bias" or "lora", those and the head; "linear_probe", the head.
        epochs: Training epochs.
        steps_per_epoch: Training batches per epoch.
        accumulation: Batches per optimizer step, which averages their gradients.
        optimizer: "adamw", "muon" (orthogonalized updates of matrices, AdamW for all else), "lion", "lamb" or "sgd".
        learning_rate: The peak learning rate, after the warm-up.
        schedule: After the warm-up: "cosine" or "linear" down to zero, or "constant".
        warmup_rate: Fraction of the steps in which the learning rate rises from zero.
        weight_decay: Per optimizer step, times the learning rate; none for biases, norms, scales, positions and tokens.
        momentum: Of "sgd".
        beta_2: Decay of the second moment of "adamw", "lamb" and the AdamW part of "muon".
        layer_decay: Factor of the learning rate per layer, from the head down; 1 for the same rate in all layers.
        clip_norm: Largest global norm of the gradients; None for no limit.
        loss: "crossentropy", or "binary_crossentropy" with an independent target per class.
        label_smoothing: Fraction of the target that is spread over all classes.
        class_weights: Factor of the loss per class; None for 1.
        augmentation: What is done to each training image, or the name of a strength, such as "light".
        stochastic_depth_rate: Drop rate of the last block; None for the model's own.
        average_decay: Decay of an exponential moving average of the weights, which is validated and kept; None for no average.
        patience: Epochs without a better validation loss after which training stops; the best epoch's weights are kept, also
            without a stop. None trains all epochs and keeps the final weights.
        seed: Random seed of a new head, stochastic depth, dropout, the order of the images and their augmentation.
        choices: What was chosen for the model and data, and why.
        data: The data that the recipe was made for, the default of `prepare` and `batches`; neither compared nor written.

    Raises:
        InvalidArgumentError: Fields are not legal; all of them are named.

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

    def __post_init__(self) -> None:
        object.__setattr__(self, "clock", EpochClock())
        problems = _find_problems(self.__dict__)
        try:
            object.__setattr__(self, "augmentation", resolve_augmentation(self.augmentation))
        except InvalidArgumentError as error:
            problems.append(f"augmentation={self.augmentation!r}: {str(error).rstrip('.')}")
        if problems:
            raise InvalidArgumentError(f"The recipe {self.name!r} is not valid: {'; '.join(problems)}.")

    @property
    def optimizer_steps(self) -> int:
        """Optimizer steps in total, one per `accumulation` batches."""
        return max(self.epochs * self.steps_per_epoch // self.accumulation, 1)

    def prepare(self, model: "keras.Model", data: "ImageData | None" = None, *, fit_head: bool = True) -> "keras.Model":
        """Returns a copy of a model for this recipe to train, as in a run; it is not compiled.

        It has a head for the classes of the data, fitted to the features where the method starts so, the recipe's stochastic depth,
        frozen weights, and LoRA matrices. Everything random depends on the recipe's seed; the global random state is not changed.

        Args:
            model: Made by `vit` or `from_preset`.
            data: The data to train on; by default those the recipe was made for.
            fit_head: False where a checkpoint will overwrite the head anyway.

        Raises:
            InvalidArgumentError: The model is not a vit_keras model, or the method needs data.
        """
        from vit_keras.training.recipes.preparing import FITS_HEAD, prepare

        data = data or self.data
        if data is None and fit_head and self.method in FITS_HEAD:
            raise InvalidArgumentError(
                f"{self.name!r} starts from a head that is fitted to data: recipe.prepare(model, data), or make the recipe for them, "
                f"vk.recipes.{self.name}(model, data)."
            )
        return prepare(
            model,
            data,
            method=self.method,
            seed=self.seed,
            stochastic_depth_rate=self.stochastic_depth_rate,
            class_weights=self.class_weights,
            fit_head=fit_head,
        )

    def batches(self, data: "ImageData | None" = None) -> "tf.data.Dataset":
        """Returns the training batches of one epoch for `model.fit`, shuffled and augmented as in a run.

        Each iteration reads the epoch set by the first of `callbacks()`, or else the next one.

        Args:
            data: By default the data that the recipe was made for.

        Raises:
            InvalidArgumentError: The recipe has another number of steps per epoch, or trains without batches.
        """
        data = data or self.data
        if data is None:
            raise InvalidArgumentError(f"The recipe {self.name!r} was not made for data: recipe.batches(data).")
        if self.method == "linear_probe":
            raise InvalidArgumentError(f"{self.name!r} trains without batches: `prepare` returns the final model.")
        return self.seeded(data).epoch_batches(self.clock.next_epoch, augmentation=self.augmentation)

    def seeded(self, data: "ImageData") -> "ImageData":
        """Returns data with the recipe's seed, and batches that are no larger than the training split; other steps per epoch raise."""
        data = replace(data, seed=self.seed, batch_size=min(data.batch_size, len(data.splits["train"])))
        if data.steps_per_epoch != self.steps_per_epoch:
            raise InvalidArgumentError(
                f"The recipe {self.name!r} has {self.steps_per_epoch} steps per epoch, but {data.name} has {data.steps_per_epoch} with "
                f"{data.batch_size} images per batch: make the recipe for these data, vk.recipes.{self.name}(model, data)."
            )
        return data

    def compile_kwargs(self) -> dict[str, Any]:
        """Returns a new optimizer, loss and accuracy for `model.compile(**...)`; targets may be integer labels or mixed."""
        from vit_keras.training.recipes.compiling import make_compile_kwargs

        return make_compile_kwargs(self)

    def callbacks(self) -> "list[keras.callbacks.Callback]":
        """Returns new callbacks for `model.fit(callbacks=...)`, after which the model has the weights that a run keeps.

        They set the epoch of `batches`, stop when the loss becomes NaN, and keep the average and the best weights.
        """
        import keras

        from vit_keras.training.callbacks.epoch_clock import TellEpoch

        return [TellEpoch(self.clock), keras.callbacks.TerminateOnNaN(), *self.weight_callbacks()]

    def weight_callbacks(self) -> "list[keras.callbacks.Callback]":
        """Returns only the callbacks that decide which weights are kept: the moving average and the best epoch."""
        from vit_keras.training.recipes.compiling import make_weight_callbacks

        return make_weight_callbacks(self)

    def replace(self, **changes: Any) -> "Recipe":
        """Returns a copy with these fields changed; `choices` keeps only those that still hold.

        Args:
            **changes: Values by field name.

        Raises:
            InvalidArgumentError: A field is unknown, or a value is not legal.
        """
        choices = tuple(choice for choice in self.choices if choice.what not in changes)
        return replace(super().replace(**changes), choices=choices)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Recipe":
        """Returns the recipe that `to_dict` wrote, also in an earlier version; see `FrozenConfig.from_dict`."""
        values = rename_values(values)
        if isinstance(values.get("augmentation"), Mapping):
            values["augmentation"] = Augmentation.from_dict(values["augmentation"])
        return super().from_dict(values)


def rename_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns options or a recipe as this version writes them."""
    renamed = dict(values)
    for key in ("name", "method"):
        if isinstance(values.get(key), str):
            renamed[key] = RENAMED.get(values[key], values[key])
    return renamed


def _find_problems(values: Mapping[str, Any]) -> list[str]:
    def check(
        names: tuple[str, ...], is_legal: Callable[[Any], bool], expected: str, *, optional: bool = False
    ) -> None:
        for name in names:
            value = values[name]
            if not (is_legal(value) or (optional and value is None)):
                problems.append(f"{name}={value!r} is not {expected}{' or None' if optional else ''}")

    def is_count(value: Any) -> bool:
        return type(value) is int and value >= 1

    def is_fraction(value: Any) -> bool:
        return is_number(value) and 0 <= value < 1

    def are_weights(value: Any) -> bool:
        return isinstance(value, tuple) and bool(value) and all(is_number(weight) and weight > 0 for weight in value)

    problems: list[str] = []
    check(("name", "source", "expected"), lambda value: type(value) is str, "a string")
    check(("epochs", "steps_per_epoch", "accumulation"), is_count, "a positive integer")
    check(("patience",), is_count, "a positive integer", optional=True)
    check(("warmup_rate", "label_smoothing", "beta_2", "momentum"), is_fraction, "in [0, 1)")
    check(("stochastic_depth_rate", "average_decay"), is_fraction, "in [0, 1)", optional=True)
    check(("learning_rate", "weight_decay"), lambda value: is_number(value) and value >= 0, "a number of at least 0")
    check(("layer_decay",), lambda value: is_number(value) and 0 < value <= 1, "a number above 0 and at most 1")
    check(("clip_norm",), lambda value: is_number(value) and value > 0, "a positive number", optional=True)
    check(("class_weights",), are_weights, "a positive number per class", optional=True)
    check(("seed",), lambda value: type(value) is int and 0 <= value < 2**31, f"an integer from 0 to {2**31 - 1}")
    for name, choices in _CHOICES.items():
        check((name,), choices.__contains__, f"one of {list(choices)}")
    return problems
