"""What a search may spend: trials, epochs or time."""

import re
from dataclasses import dataclass

from vit_keras.errors import InvalidArgumentError
from vit_keras.validation import is_number

_UNITS = {"s": 1, "sec": 1, "min": 60, "h": 3600, "hour": 3600, "hours": 3600, "d": 86_400}
_TIME = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([a-z]+)\s*")
_COUNT = re.compile(r"\s*([0-9]+)\s*(trials?|epochs?)\s*")


@dataclass(frozen=True)
class Budget:
    """One limit of a search; the others are None.

    Args:
        trials: Configurations begun.
        epochs: Epochs of all trials together.
        seconds: Time of the clock, interruptions left out.

    Example:
        >>> Budget.of("30min"), Budget.of("40 trials")
        (Budget(trials=None, epochs=None, seconds=1800.0), Budget(trials=40, epochs=None, seconds=None))
    """

    trials: int | None = None
    epochs: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        given = [value for value in (self.trials, self.epochs, self.seconds) if value is not None]
        if len(given) != 1 or not is_number(given[0]) or given[0] <= 0:
            raise InvalidArgumentError(
                f"{self} is no budget: give one positive limit, as '30min', '40 trials' or '200 epochs'."
            )

    @classmethod
    def of(cls, words: "str | Budget") -> "Budget":
        """Returns the budget that words name.

        Args:
            words: A time such as "90s", "30min" or "2h", "40 trials", or "200 epochs".

        Raises:
            InvalidArgumentError: They name none.
        """
        if isinstance(words, Budget):
            return words
        text = str(words).lower()
        if count := _COUNT.fullmatch(text):
            number = int(count[1])
            return cls(trials=number) if count[2].startswith("trial") else cls(epochs=number)
        time = _TIME.fullmatch(text)
        if time and time[2] in _UNITS:
            return cls(seconds=float(time[1]) * _UNITS[time[2]])
        raise InvalidArgumentError(
            f"budget={words!r} is none: give a time such as '90s', '30min' or '2h', or '40 trials', or '200 epochs'."
        )

    def __str__(self) -> str:
        """Returns it as `of` takes it."""
        if self.seconds is not None:
            return f"{self.seconds:g}s"
        return f"{self.trials} trials" if self.trials is not None else f"{self.epochs} epochs"
