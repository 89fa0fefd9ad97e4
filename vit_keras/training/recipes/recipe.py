"""`Recipe`: how to train a model, as data that `run.json` holds, with the steps of a run for your own `model.fit`."""

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from vit_keras.errors import InvalidArgumentError
from vit_keras.training.recipes.clock import EpochClock
from vit_keras.training.recipes.settings import RecipeSettings

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from vit_keras.data import ImageData


@dataclass(frozen=True)
class Choice:
    """One value that was chosen for a model and data."""

    what: str
    value: Any
    reason: str


@dataclass(frozen=True, kw_only=True)
class Recipe(RecipeSettings):
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
        loss: "crossentropy", or "binary_crossentropy" with an independent target per class; of a regression "mean_squared_error",
            "mean_absolute_error" or "huber", of numbers divided by `target_scale`.
        label_smoothing: Fraction of the target that is spread over all classes.
        class_weights: Factor of the loss per class, of a multi-label task for the images that have the class; None for 1.
        augmentation: What is done to each training image, or the name of a strength, such as "light".
        stochastic_depth_rate: Drop rate of the last block; None for the model's own.
        average_decay: Decay of an exponential moving average of the weights, which is validated and kept; None for no average.
        patience: Epochs without a better validation loss after which training stops; the best epoch's weights are kept, also
            without a stop. None trains all epochs and keeps the final weights.
        task: "single_label", "multi_label" or "regression", the task of the data.
        target_mean: Mean of each number that a regression predicts; None for other tasks.
        target_scale: Standard deviation of each; the head learns numbers from which the mean is subtracted, divided by it.
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

    choices: tuple[Choice, ...] = field(default=(), compare=False, repr=False)
    data: "ImageData | None" = field(default=None, compare=False, repr=False)
    clock: EpochClock = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "clock", EpochClock())
        super().__post_init__()

    def _repr_html_(self) -> str:
        from vit_keras.reporting import notebook, pages
        from vit_keras.reporting.text import flatten_values, plural

        steps = f"{plural(self.epochs, 'epoch')} of {plural(self.steps_per_epoch, 'step')}"
        choices = [(choice.what, str(choice.value), choice.reason) for choice in self.choices]
        return (
            notebook.title(f"Recipe {self.name}: {steps}")
            + (pages.table(("choice", "value", "reason"), choices) if choices else "")
            + pages.folded("All values", pages.table(("name", "value"), flatten_values(self.to_dict())))
        )

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
        return prepare(model, data, self, fit_head=fit_head)

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
        """Returns a new optimizer, loss and metrics for `model.compile(**...)`; targets may be integer labels or mixed."""
        from vit_keras.training.recipes.compiling import make_compile_kwargs

        return make_compile_kwargs(self)

    def callbacks(self) -> "list[keras.callbacks.Callback]":
        """Returns new callbacks for `model.fit(callbacks=...)`, after which the model has the weights that a run keeps.

        They set the epoch of `batches`, stop when the loss becomes NaN, and keep the average and the best weights.
        """
        import keras

        from vit_keras.training.callbacks.epoch_clock import TellEpoch

        return [TellEpoch(self.clock.set_epoch), keras.callbacks.TerminateOnNaN(), *self.weight_callbacks()]

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
