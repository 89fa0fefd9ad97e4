"""Recipes: how a model is trained, as data.

A recipe is plain numbers, printable and written into `run.json`; `compile_arguments` and `callbacks` spell it in Keras for
those who call `model.fit` themselves.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from vit_keras.config import closest, is_number
from vit_keras.data.augmentation import Augmentation
from vit_keras.errors import InvalidArgumentError

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to train a Vision Transformer for a known number of steps.

    Args:
        name: What it is called.
        source: Where its numbers are from.
        epochs: Passes over the training images.
        steps_per_epoch: Training batches an epoch.
        optimizer: "adamw" or "muon" (whose matrices get orthogonalised updates, and all else AdamW's).
        learning_rate: The highest, after the warm-up.
        warmup_rate: Fraction of the steps in which it rises from zero; then it falls to zero along a cosine.
        weight_decay: Per step and unit of learning rate; biases, norms, scales, positions and tokens have none.
        beta_2: Decay of AdamW's second moment.
        layer_decay: Factor of the rate a layer, from the head down; 1 for the same rate everywhere.
        clip_norm: Largest norm of all gradients together; None for no limit.
        label_smoothing: Fraction of the target spread over all classes.
        augmentation: What is done to each training image.

    Example:
        >>> recipe = small_images(epochs=10, steps_per_epoch=100)
        >>> sorted(recipe.compile_arguments)
        ['loss', 'metrics', 'optimizer']
    """

    name: str
    source: str
    epochs: int
    steps_per_epoch: int
    optimizer: str = "adamw"
    learning_rate: float = 1e-3
    warmup_rate: float = 0.1
    weight_decay: float = 0.05
    beta_2: float = 0.999
    layer_decay: float = 1.0
    clip_norm: float | None = 1.0
    label_smoothing: float = 0.1
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        values = self.__dict__
        wrong = [
            f"{name}={values[name]!r} is not a positive whole number"
            for name in ("epochs", "steps_per_epoch")
            if type(values[name]) is not int or values[name] < 1
        ]
        wrong += [
            f"{name}={values[name]!r} is not in [0, 1)"
            for name in ("warmup_rate", "label_smoothing", "beta_2")
            if not is_number(values[name]) or not 0 <= values[name] < 1
        ]
        wrong += [
            f"{name}={values[name]!r} is not a number from 0 up"
            for name in ("learning_rate", "weight_decay")
            if not is_number(values[name]) or values[name] < 0
        ]
        if not is_number(self.layer_decay) or not 0 < self.layer_decay <= 1:
            wrong.append(f"layer_decay={self.layer_decay!r} is not a number above 0 and 1 at most")
        if self.optimizer not in ("adamw", "muon"):
            wrong.append(f'optimizer={self.optimizer!r} is neither "adamw" nor "muon"')
        if self.clip_norm is not None and (not is_number(self.clip_norm) or self.clip_norm <= 0):
            wrong.append(f"clip_norm={self.clip_norm!r} is neither None nor a positive number")
        if wrong:
            raise InvalidArgumentError(f"The recipe {self.name!r} can't be used: {'; '.join(wrong)}.")

    @property
    def compile_arguments(self) -> dict[str, Any]:
        """A new optimizer, the loss on whole-number labels and the metrics, for `model.compile(**...)`."""
        from vit_keras.training.losses import SmoothedCrossentropy

        return {
            "optimizer": self._optimizer(),
            "loss": SmoothedCrossentropy(self.label_smoothing),
            "metrics": ["accuracy"],
        }

    @property
    def callbacks(self) -> "list[keras.callbacks.Callback]":
        """New callbacks for `model.fit(callbacks=...)`: training ends at the first loss that is no number."""
        import keras

        return [keras.callbacks.TerminateOnNaN()]

    def _optimizer(self) -> "keras.optimizers.Optimizer":
        from vit_keras.training import optimizers

        steps = self.epochs * self.steps_per_epoch
        schedule = optimizers.warmup_cosine(
            self.learning_rate, steps=steps, warmup_steps=round(self.warmup_rate * steps)
        )
        kind = optimizers.AdamW if self.optimizer == "adamw" else optimizers.Muon
        return kind(
            schedule,
            weight_decay=self.weight_decay,
            beta_2=self.beta_2,
            layer_decay=self.layer_decay,
            global_clipnorm=self.clip_norm,
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns every field as JSON can hold it."""
        return {**asdict(self), "augmentation": self.augmentation.to_dict()}


def from_scratch(*, epochs: int, steps_per_epoch: int, **changes: Any) -> Recipe:
    """Returns the recipe for training the sizes of the paper from random weights, without the paper's data.

    AdamW, cosine, smoothing and clipping as in Beyer et al. 2022, arXiv 2205.01580, with flips, crops and colour in place
    of its RandAugment and MixUp.

    Args:
        epochs: Passes over the training images.
        steps_per_epoch: Training batches an epoch.
        **changes: Fields of `Recipe` in place of the recipe's.
    """
    augmentation = Augmentation(
        flip_rate=0.5, zoom=0.3, stretch=0.2, shift=0.1, saturation=0.3, contrast=0.3, brightness=0.1
    )
    recipe = Recipe(
        name="from_scratch",
        source="https://arxiv.org/abs/2205.01580",
        epochs=epochs,
        steps_per_epoch=steps_per_epoch,
        learning_rate=1e-3,
        weight_decay=0.1,
        augmentation=augmentation,
    )
    return _changed(recipe, changes)


def small_images(*, epochs: int, steps_per_epoch: int, **changes: Any) -> Recipe:
    """Returns the recipe for training small Vision Transformers from random weights on images of 28 to 96 px.

    Args:
        epochs: Passes over the training images.
        steps_per_epoch: Training batches an epoch.
        **changes: Fields of `Recipe` in place of the recipe's.
    """
    augmentation = Augmentation(
        flip_rate=0.5, rotation=10, zoom=0.25, stretch=0.25, shift=0.12, hue=54, saturation=0.42, contrast=0.24,
        brightness=0.12, grayscale_rate=0.1, erase_rate=0.1,
    )  # fmt: skip
    recipe = Recipe(
        name="small_images",
        source="measured: benchmarks/README.md",
        epochs=epochs,
        steps_per_epoch=steps_per_epoch,
        optimizer="muon",
        learning_rate=4e-3,
        augmentation=augmentation,
    )
    return _changed(recipe, changes)


RECIPES: dict[str, Callable[..., Recipe]] = {"from_scratch": from_scratch, "small_images": small_images}
"""Recipes by the name that presets give."""


def _changed(recipe: Recipe, changes: dict[str, Any]) -> Recipe:
    unknown = sorted(changes.keys() - asdict(recipe).keys())
    if unknown:
        known = sorted(asdict(recipe))
        raise InvalidArgumentError(f"A recipe has no {unknown}; the closest fields are {closest(unknown[0], known)}.")
    return replace(recipe, **changes)
