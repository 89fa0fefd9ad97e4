"""Keras' optimizers, with no decay on what must not shrink, also after a reload."""

from typing import Any

import keras

from vit_keras.training.layer_decay import LayerDecay

NO_DECAY = ("bias", "gamma", "beta", "class_token", "position_embedding", "probe")
"""Names of the variables without weight decay: biases, norms, scales, tokens and positions."""
_PATTERNS = [rf"(^|/){name}(:\d+)?$" for name in NO_DECAY]  # TensorFlow's names are paths that end in :0


def warmup_cosine(learning_rate: float, *, steps: int, warmup_steps: int) -> keras.optimizers.schedules.CosineDecay:
    """Returns a learning rate that rises from zero for `warmup_steps`, then falls to zero along a cosine until `steps`.

    Args:
        learning_rate: The highest.
        steps: Training steps in all.
        warmup_steps: Steps it rises.

    Example:
        >>> float(warmup_cosine(1.0, steps=100, warmup_steps=10)(10))
        1.0
    """
    if not warmup_steps:
        return keras.optimizers.schedules.CosineDecay(learning_rate, decay_steps=steps)
    return keras.optimizers.schedules.CosineDecay(
        0.0, decay_steps=max(steps - warmup_steps, 1), warmup_target=learning_rate, warmup_steps=warmup_steps
    )


@keras.saving.register_keras_serializable(package="vit_keras")
class AdamW(LayerDecay, keras.optimizers.AdamW):
    """AdamW that leaves `NO_DECAY` without decay; Keras forgets such a list when an optimizer is saved.

    Paper: Loshchilov and Hutter 2019, arXiv 1711.05101.

    Args:
        learning_rate: A number or a schedule.
        layer_decay: Factor of the rate a layer, from the head down; 1 for the same rate everywhere.
        **kwargs: As for `keras.optimizers.AdamW`.

    Example:
        >>> AdamW(1e-3, weight_decay=0.05).weight_decay
        0.05
    """

    def __init__(self, learning_rate: Any = 1e-3, *, layer_decay: float = 1.0, **kwargs: Any) -> None:
        super().__init__(learning_rate, layer_decay=layer_decay, **kwargs)
        self.exclude_from_weight_decay(var_names=_PATTERNS)


@keras.saving.register_keras_serializable(package="vit_keras")
class Muon(LayerDecay, keras.optimizers.Muon):
    """Orthogonalised updates for the matrices inside the blocks, AdamW for all else; `NO_DECAY` has no decay.

    Paper: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon, with the learning rate scaled as in Liu et al.
    2025, arXiv 2502.16982, so that AdamW's rates and decays serve. Three iterations orthogonalise well enough here, where
    Keras takes five.

    Args:
        learning_rate: A number or a schedule.
        weight_decay: Per step and unit of learning rate, for both kinds of update.
        beta_2: Decay of AdamW's second moment.
        layer_decay: Factor of the rate a layer, from the head down; 1 for the same rate everywhere.
        **kwargs: As for `keras.optimizers.Muon`.

    Example:
        >>> Muon(1e-3, weight_decay=0.05).adam_weight_decay
        0.05
    """

    _decays = ("weight_decay", "adam_weight_decay")

    def __init__(
        self,
        learning_rate: Any = 1e-3,
        *,
        weight_decay: float = 0.1,
        beta_2: float = 0.999,
        layer_decay: float = 1.0,
        **kwargs: Any,
    ) -> None:
        defaults = {"adam_weight_decay": weight_decay, "adam_beta_2": beta_2, "exclude_layers": ["head"], "ns_steps": 3}
        super().__init__(learning_rate, weight_decay=weight_decay, layer_decay=layer_decay, **{**defaults, **kwargs})
        self.exclude_from_weight_decay(var_names=_PATTERNS)
