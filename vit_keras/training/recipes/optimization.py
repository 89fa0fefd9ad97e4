"""The settings that supervised training and pre-training share: optimizer, schedule, augmentation, averaging."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

from vit_keras.data.augment.augmentation import Augmentation, resolve_augmentation
from vit_keras.errors import InvalidArgumentError
from vit_keras.validation import FrozenConfig, is_number, list_words


class Rule(NamedTuple):
    """Which values some fields of a recipe may have."""

    names: tuple[str, ...]
    is_legal: Callable[[Any], bool]
    expected: str  # as in "epochs=0 is not a positive integer"
    optional: bool = False  # whether None is legal, too


@dataclass(frozen=True, kw_only=True)
class OptimizationSettings(FrozenConfig):
    """How weights are optimized, as plain values; `Recipe` documents them."""

    name: str
    source: str
    expected: str = ""
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
    augmentation: Augmentation = field(default_factory=Augmentation)
    average_decay: float | None = None
    patience: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        unknown = []
        try:
            object.__setattr__(self, "augmentation", resolve_augmentation(self.augmentation))
        except InvalidArgumentError as error:
            unknown.append(f"augmentation={self.augmentation!r}: {str(error).rstrip('.')}")
        problems = self._find_problems() + unknown
        if problems:
            raise InvalidArgumentError(f"The recipe {self.name!r} is not valid: {'; '.join(problems)}.")

    @property
    def optimizer_steps(self) -> int:
        """Optimizer steps in total, one per `accumulation` batches."""
        return max(self.epochs * self.steps_per_epoch // self.accumulation, 1)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Returns the settings that `to_dict` wrote; see `FrozenConfig.from_dict`."""
        if isinstance(values.get("augmentation"), Mapping):
            values = {**values, "augmentation": Augmentation.from_dict(values["augmentation"])}
        return super().from_dict(values)

    def _find_problems(self) -> list[str]:
        return apply_rules(_RULES, vars(self))


def apply_rules(rules: Iterable[Rule], values: Mapping[str, Any]) -> list[str]:
    """Returns a message for each value that is not legal."""
    return [
        f"{name}={values[name]!r} is not {rule.expected}{' or None' if rule.optional else ''}"
        for rule in rules
        for name in rule.names
        if not (rule.is_legal(values[name]) or (rule.optional and values[name] is None))
    ]


def is_one_of(*choices: str) -> tuple[Callable[[Any], bool], str]:
    """Returns the last two fields of a rule for one of several words."""
    return choices.__contains__, f"one of {list_words(choices)}"


def is_fraction(value: Any) -> bool:
    """Whether a value is a number in [0, 1)."""
    return is_number(value) and 0 <= value < 1


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 1


_RULES = (
    Rule(("name", "source", "expected"), lambda value: type(value) is str, "a string"),
    Rule(("epochs", "steps_per_epoch", "accumulation"), _is_count, "a positive integer"),
    Rule(("patience",), _is_count, "a positive integer", optional=True),
    Rule(("warmup_rate", "beta_2", "momentum"), is_fraction, "in [0, 1)"),
    Rule(("average_decay",), is_fraction, "in [0, 1)", optional=True),
    Rule(("learning_rate", "weight_decay"), lambda value: is_number(value) and value >= 0, "a number of at least 0"),
    Rule(("layer_decay",), lambda value: is_number(value) and 0 < value <= 1, "a number above 0 and at most 1"),
    Rule(("clip_norm",), lambda value: is_number(value) and value > 0, "a positive number", optional=True),
    Rule(("seed",), lambda value: type(value) is int and 0 <= value < 2**31, f"an integer from 0 to {2**31 - 1}"),
    Rule(("optimizer",), *is_one_of("adamw", "muon", "lion", "lamb", "sgd")),
    Rule(("schedule",), *is_one_of("cosine", "linear", "constant")),
)
