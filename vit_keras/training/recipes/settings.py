"""The settings of a recipe: numbers and words, checked together."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from vit_keras.data.augment.augmentation import Augmentation, resolve_augmentation
from vit_keras.data.tasks import TASKS
from vit_keras.errors import InvalidArgumentError
from vit_keras.validation import FrozenConfig, is_number

_REGRESSION_LOSSES = ("mean_squared_error", "mean_absolute_error", "huber")
_CHOICES = {
    "optimizer": ("adamw", "muon", "lion", "lamb", "sgd"),
    "schedule": ("cosine", "linear", "constant"),
    "loss": ("crossentropy", "binary_crossentropy", *_REGRESSION_LOSSES),
    "task": TASKS,
    "method": ("full", "head_first", "last_blocks", "bias", "lora", "linear_probe"),
}
RENAMED = {"adapters": "lora"}  # recipes and methods of earlier versions


@dataclass(frozen=True, kw_only=True)
class RecipeSettings(FrozenConfig):
    """What `Recipe` documents, as plain values."""

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
    task: str = "single_label"
    target_mean: tuple[float, ...] | None = None
    target_scale: tuple[float, ...] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
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

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Returns the settings that `to_dict` wrote, also in an earlier version; see `FrozenConfig.from_dict`."""
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
    return problems or _find_task_problems(values)


def _find_task_problems(values: Mapping[str, Any]) -> list[str]:
    """Returns why loss and scale don't fit the task."""
    task, loss, mean, scale = (values[name] for name in ("task", "loss", "target_mean", "target_scale"))
    losses = {"single_label": ("crossentropy", "binary_crossentropy"), "multi_label": ("binary_crossentropy",)}.get(
        task, _REGRESSION_LOSSES
    )
    problems = [] if loss in losses else [f"loss={loss!r} is not for task={task!r}, whose losses are {list(losses)}"]
    if task != "regression":
        given = [name for name in ("target_mean", "target_scale") if values[name] is not None]
        return [*problems, *(f"{name} is for task='regression'" for name in given)]
    are_numbers = all(isinstance(each, tuple) and each and all(map(is_number, each)) for each in (mean, scale))
    if not are_numbers or len(mean) != len(scale) or not all(value > 0 for value in scale):
        problems.append(
            f"target_mean={mean!r} and target_scale={scale!r} are not a number and a positive number per target; "
            "vk.recipes.NAME(model, data) sets them"
        )
    if values["class_weights"] is not None:
        problems.append("class_weights are for classes, and a regression has none")
    return problems
