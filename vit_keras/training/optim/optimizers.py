"""Keras' optimizers, with no decay on what must not shrink, also after a reload, and steps that are the optimizer's own."""

from collections.abc import Iterable, Sequence
from typing import Any

import keras

from vit_keras.errors import InvalidArgumentError
from vit_keras.layers.base.checks import Tensor
from vit_keras.training.optim.kernels import fastest
from vit_keras.training.optim.layer_decay import LayerDecay
from vit_keras.training.optim.replicas import replica_count, summed
from vit_keras.training.optim.schedules import warmup_cosine as warmup_cosine

NO_DECAY = ("bias", "gamma", "beta", "class_token", "position_embedding", "probe")
"""Names of the variables without weight decay: biases, norms, scales, tokens and positions."""
_PATTERNS = [rf"(^|/){name}(:\d+)?$" for name in NO_DECAY]  # TensorFlow's names are paths that end in :0


class _Ours(LayerDecay):
    """What each has beyond Keras': layer-wise rates, `NO_DECAY`, a schedule that counts optimizer steps, and the whole batch's norm.

    Keras forgets a list of what has no decay when an optimizer is saved.
    """

    _decays: tuple[str, ...] = ("weight_decay",)  # what a recipe's weight decay sets

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.exclude_from_weight_decay(var_names=_PATTERNS)

    def build(self, variables: Iterable[keras.Variable]) -> None:
        """Makes the optimizer's state, and refuses what Keras can't do on several devices."""
        if self.gradient_accumulation_steps and (devices := replica_count()) > 1:
            raise InvalidArgumentError(
                f"gradient_accumulation_steps={self.gradient_accumulation_steps} on {devices} devices: on TensorFlow Keras adds up "
                "gradients on one device alone. Leave it out, each device has its part of a batch, or use JAX."
            )
        super().build(variables)

    def _clip_gradients(self, grads: Sequence[Tensor]) -> Sequence[Tensor]:
        # Keras would clip each device's part and then add the parts, as it does here with equal ones.
        shared = replica_count() > 1 and (self.clipnorm or self.global_clipnorm or self.clipvalue)
        clipped: Sequence[Tensor] = super()._clip_gradients(summed(grads) if shared else grads)
        return [gradient / replica_count() for gradient in clipped] if shared else clipped

    def _get_current_learning_rate(self) -> Tensor:
        # Keras tells the schedule the batches seen, of which an optimizer that accumulates gradients takes several a step.
        if self._rate is None and isinstance(self._learning_rate, keras.optimizers.schedules.LearningRateSchedule):
            return self._learning_rate(self.iterations)
        return super()._get_current_learning_rate()


@keras.saving.register_keras_serializable(package="vit_keras")
class AdamW(_Ours, fastest(keras.optimizers.AdamW)):  # type: ignore[misc]
    """AdamW that leaves `NO_DECAY` without decay.

    Paper: Loshchilov and Hutter 2019, arXiv 1711.05101.

    Args:
        learning_rate: A number or a schedule, which counts optimizer steps.
        layer_decay: Factor of the rate a layer, from the head down; 1 for the same rate everywhere.
        **kwargs: As for `LayerDecay` and `keras.optimizers.AdamW`.

    Example:
        >>> AdamW(1e-3, weight_decay=0.05).weight_decay
        0.05
    """

    def __init__(self, learning_rate: Any = 1e-3, *, layer_decay: float = 1.0, **kwargs: Any) -> None:
        super().__init__(learning_rate, layer_decay=layer_decay, **kwargs)


@keras.saving.register_keras_serializable(package="vit_keras")
class Muon(_Ours, fastest(keras.optimizers.Muon)):  # type: ignore[misc]
    """Orthogonalised updates for the matrices inside the blocks, AdamW for all else; `NO_DECAY` has no decay.

    Paper: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon, with the learning rate scaled as in Liu et al.
    2025, arXiv 2502.16982, so that AdamW's rates and decays serve. Three iterations orthogonalise well enough here, where
    Keras takes five.

    Args:
        learning_rate: A number or a schedule, which counts optimizer steps.
        weight_decay: Per step and unit of learning rate, for both kinds of update.
        beta_2: Decay of AdamW's second moment.
        layer_decay: Factor of the rate a layer, from the head down; 1 for the same rate everywhere.
        **kwargs: As for `LayerDecay` and `keras.optimizers.Muon`.

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


@keras.saving.register_keras_serializable(package="vit_keras")
class Lion(_Ours, fastest(keras.optimizers.Lion)):  # type: ignore[misc]
    """The sign of a momentum as the update, a third to a tenth of AdamW's rate; `NO_DECAY` has no decay.

    Paper: Chen et al. 2023, arXiv 2302.06675.

    Args:
        learning_rate: A number or a schedule, which counts optimizer steps.
        layer_decay: Factor of the rate a layer, from the head down; 1 for the same rate everywhere.
        **kwargs: As for `LayerDecay` and `keras.optimizers.Lion`.

    Example:
        >>> Lion(1e-4, weight_decay=0.5).beta_2
        0.99
    """

    def __init__(self, learning_rate: Any = 1e-4, *, layer_decay: float = 1.0, **kwargs: Any) -> None:
        super().__init__(learning_rate, layer_decay=layer_decay, **kwargs)


@keras.saving.register_keras_serializable(package="vit_keras")
class Lamb(_Ours, fastest(keras.optimizers.Lamb)):  # type: ignore[misc]
    """Adam's update, as long as the weights it changes: for large batches; `NO_DECAY` has no decay.

    Paper: You et al. 2020, arXiv 1904.00962. As in Keras, weight decay stands beside the update; the paper has it within, before
    the update gets its length.

    Args:
        learning_rate: A number or a schedule, which counts optimizer steps.
        layer_decay: Factor of the rate a layer, from the head down; 1 for the same rate everywhere.
        **kwargs: As for `LayerDecay` and `keras.optimizers.Lamb`.

    Example:
        >>> Lamb(3e-3, weight_decay=0.05).weight_decay
        0.05
    """

    def __init__(self, learning_rate: Any = 1e-3, *, layer_decay: float = 1.0, **kwargs: Any) -> None:
        super().__init__(learning_rate, layer_decay=layer_decay, **kwargs)


@keras.saving.register_keras_serializable(package="vit_keras")
class SGD(_Ours, fastest(keras.optimizers.SGD)):  # type: ignore[misc]
    """Gradient descent with momentum; `NO_DECAY` has no decay.

    Args:
        learning_rate: A number or a schedule, which counts optimizer steps.
        momentum: Fraction of the last step that is taken again.
        layer_decay: Factor of the rate a layer, from the head down; 1 for the same rate everywhere.
        **kwargs: As for `LayerDecay` and `keras.optimizers.SGD`.

    Example:
        >>> SGD(0.03).momentum
        0.9
    """

    def __init__(
        self, learning_rate: Any = 0.01, *, momentum: float = 0.9, layer_decay: float = 1.0, **kwargs: Any
    ) -> None:
        super().__init__(learning_rate, momentum=float(momentum), layer_decay=layer_decay, **kwargs)
