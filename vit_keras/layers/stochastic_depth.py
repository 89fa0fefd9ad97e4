"""Drops a residual branch for random images (stochastic depth, or drop path)."""

from typing import Any

import keras
from keras import ops

from vit_keras.layers.base.base_layer import BaseLayer
from vit_keras.layers.base.checks import Tensor, check_fractions

TRACED_RATE = "rate"
"""Name of the variable that `trace_rate` creates; no weight has this name."""


@keras.saving.register_keras_serializable(package="vit_keras")
class StochasticDepth(BaseLayer):
    """In training, zero for a fraction of the images and the input scaled up for the others; else the input.

    Paper: Huang et al. 2016, arXiv 1603.09382, with the remaining branches scaled by `1 / (1 - rate)`, which keeps the mean.

    Args:
        rate: Fraction of the images whose branch is dropped, in [0, 1).
        seed: Integer that fixes the choice.

    Shapes:
        tokens: `(batch, tokens, hidden_dim)`.
        returns: The same.

    Example:
        >>> StochasticDepth(0.1)(keras.Input((197, 64))).shape
        (None, 197, 64)
    """

    def __init__(self, rate: float, *, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_fractions(type(self).__name__, rate=rate)
        self.rate: Any = rate  # a number, or a variable after `trace_rate`
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed) if rate else None
        self.supports_masking = True
        self.built = True

    def trace_rate(self) -> None:
        """Makes the rate a variable, so that one compiled step serves every rate."""
        self._tracker.unlock()
        self.rate = keras.Variable(self.rate, dtype="float32", trainable=False, autocast=False, name=TRACED_RATE)
        self.seed_generator = self.seed_generator or keras.random.SeedGenerator(self.seed)
        self._tracker.lock()

    def call(self, tokens: Tensor, training: bool | None = None) -> Tensor:
        """Draws once per image."""
        if not training or self.seed_generator is None:
            return tokens
        drawn = keras.random.uniform((ops.shape(tokens)[0], 1, 1), dtype="float32", seed=self.seed_generator)
        rate = ops.convert_to_tensor(self.rate, "float32")
        return tokens * ops.cast(ops.where(drawn >= rate, 1 / (1 - rate), 0.0), tokens.dtype)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "rate": float(self.rate)}
