"""The budget of a search: trials, epochs or time."""

import re
from dataclasses import dataclass

from vit_keras.errors import InvalidArgumentError
from vit_keras.validation import is_number

_UNITS = {"s": 1, "sec": 1, "min": 60, "h": 3600, "hour": 3600, "hours": 3600, "d": 86_400}
_TIME = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([a-z]+)\s*")
_COUNT = re.compile(r"\s*([0-9]+)\s*(trials?|epochs?)\s*")


@dataclass(frozen=True)
class Budget:
    """One limit of a search; the other two are None.

    Args:
        trials: Number of configurations.
        epochs: Epochs of all trials together.
        seconds: Running time, without interruptions.

    Example:
        >>> Budget.parse("30min"), Budget.parse("40 trials")
        (Budget(trials=None, epochs=None, seconds=1800.0), Budget(trials=40, epochs=None, seconds=None))
    """

    trials: int | None = None
    epochs: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        limits = {"trials": self.trials, "epochs": self.epochs, "seconds": self.seconds}
        given = {name: value for name, value in limits.items() if value is not None}
        if len(given) != 1 or not all(is_number(value) and value > 0 for value in given.values()):
            stated = ", ".join(f"{value} {name}" for name, value in given.items()) or "none"
            raise InvalidArgumentError(
                f"A budget is exactly one positive limit, such as '30min', '40 trials' or '200 epochs'; got {stated}."
            )

    @classmethod
    def parse(cls, budget: "str | Budget") -> "Budget":
        """Returns a budget from its text.

        Args:
            budget: A time such as "90s", "30min" or "2h", "40 trials", or "200 epochs".

        Raises:
            InvalidArgumentError: The text is none of these.
        """
        if isinstance(budget, Budget):
            return budget
        text = str(budget).lower()
        if count := _COUNT.fullmatch(text):
            number = int(count[1])
            return cls(trials=number) if count[2].startswith("trial") else cls(epochs=number)
        time = _TIME.fullmatch(text)
        if time and time[2] in _UNITS:
            return cls(seconds=float(time[1]) * _UNITS[time[2]])
        raise InvalidArgumentError(
            f"budget={budget!r}: expected a time such as '90s', '30min' or '2h', or '40 trials', or '200 epochs'."
        )

    def __str__(self) -> str:
        """Returns the text that `parse` reads."""
        if self.seconds is not None:
            return f"{self.seconds:g}s"
        return f"{self.trials} trials" if self.trials is not None else f"{self.epochs} epochs"
