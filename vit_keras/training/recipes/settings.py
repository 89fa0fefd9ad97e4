"""The settings of a recipe of supervised training: numbers and words, checked together."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from vit_keras.data.task_names import TASKS
from vit_keras.training.recipes.optimization import OptimizationSettings, Rule, apply_rules, is_fraction, is_one_of
from vit_keras.validation import is_number, list_words

_REGRESSION_LOSSES = ("mean_squared_error", "mean_absolute_error", "huber")
RENAMED = {"adapters": "lora"}  # recipes and methods of earlier versions


@dataclass(frozen=True, kw_only=True)
class RecipeSettings(OptimizationSettings):
    """What `Recipe` documents, as plain values."""

    method: str = "full"
    loss: str = "crossentropy"
    label_smoothing: float = 0.1
    class_weights: tuple[float, ...] | None = None
    stochastic_depth_rate: float | None = None
    task: str = "single_label"
    target_mean: tuple[float, ...] | None = None
    target_scale: tuple[float, ...] | None = None

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Returns the settings that `to_dict` wrote, also in an earlier version; see `FrozenConfig.from_dict`."""
        return super().from_dict(rename_values(values))

    def _find_problems(self) -> list[str]:
        problems = super()._find_problems() + apply_rules(_RULES, vars(self))
        return problems or _find_task_problems(vars(self))


def rename_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns options or a recipe as this version writes them."""
    renamed = dict(values)
    for key in ("name", "method"):
        if isinstance(values.get(key), str):
            renamed[key] = RENAMED.get(values[key], values[key])
    return renamed


def _are_weights(value: Any) -> bool:
    return isinstance(value, tuple) and bool(value) and all(is_number(weight) and weight > 0 for weight in value)


_RULES = (
    Rule(("label_smoothing",), is_fraction, "in [0, 1)"),
    Rule(("stochastic_depth_rate",), is_fraction, "in [0, 1)", optional=True),
    Rule(("class_weights",), _are_weights, "a positive number per class", optional=True),
    Rule(("loss",), *is_one_of("crossentropy", "binary_crossentropy", *_REGRESSION_LOSSES)),
    Rule(("task",), *is_one_of(*TASKS)),
    Rule(("method",), *is_one_of("full", "head_first", "last_blocks", "bias", "lora", "linear_probe")),
)


def _find_task_problems(values: Mapping[str, Any]) -> list[str]:
    """Returns why loss and scale don't fit the task."""
    task, loss, mean, scale = (values[name] for name in ("task", "loss", "target_mean", "target_scale"))
    losses = {"single_label": ("crossentropy", "binary_crossentropy"), "multi_label": ("binary_crossentropy",)}.get(
        task, _REGRESSION_LOSSES
    )
    problems = (
        [] if loss in losses else [f"loss={loss!r} is not for task={task!r}, whose losses are {list_words(losses)}"]
    )
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
