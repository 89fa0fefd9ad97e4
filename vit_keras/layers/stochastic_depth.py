"""Skips a residual branch for some images."""

from typing import Any

import keras

from vit_keras.layers.checks import check_fractions


@keras.saving.register_keras_serializable(package="vit_keras")
class StochasticDepth(keras.layers.Dropout):
    """In training, zero for a fraction of the images and the input scaled up for the others; else the input.

    Paper: Huang et al. 2016, arXiv 1603.09382, with the kept branches scaled by `1 / (1 - rate)` so that the mean stays.

    Args:
        rate: Fraction of the images whose branch is skipped.
        seed: Whole number that fixes the choice.

    Shapes:
        tokens: `(batch, tokens, hidden_dim)`.
        returns: The same.

    Raises:
        InvalidArgumentError: `rate` is not in [0, 1).

    Example:
        >>> StochasticDepth(0.1)(keras.Input((197, 64))).shape
        (None, 197, 64)
    """

    def __init__(self, rate: float, *, seed: int | None = None, **kwargs: Any) -> None:
        check_fractions(type(self).__name__, rate=rate)
        super().__init__(rate, noise_shape=(None, 1, 1), seed=seed, **kwargs)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        config: dict[str, Any] = super().get_config()
        del config["noise_shape"]
        return config
