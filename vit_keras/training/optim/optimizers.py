"""Keras' optimizers with layer-wise learning rates and no weight decay on biases, norms and tokens."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import keras

from vit_keras.distributed.replicas import count_replicas
from vit_keras.errors import InvalidArgumentError
from vit_keras.layers.base.checks import Tensor
from vit_keras.training.optim.kernels import select_fastest
from vit_keras.training.optim.layer_decay import layer_scales
from vit_keras.validation import is_number

NO_DECAY = (r"\w*bias", "gamma", "beta", "class_token", "position_embedding", "table", r"lambda_\w+", "probe")
"""Names of the variables without weight decay, as regular expressions: biases, norms, scales, tokens, positions and factors."""
_NO_DECAY_PATTERNS = [rf"(^|/){name}(:\d+)?$" for name in NO_DECAY]  # TensorFlow's names are paths that end in :0


class _Optimizer(keras.optimizers.Optimizer):
    """What our optimizers add to Keras'; the first base class.

    Weight decay skips `NO_DECAY` (Keras forgets such a list when an optimizer is saved). A schedule counts optimizer steps.
    Gradients are clipped by the norm of the whole batch on several devices. The learning rate decays from layer to layer: it is
    set, logged and scheduled as one number, and updates and weight decay are scaled per variable. `num_layers=None` takes the
    last trained block as the model's last, which is wrong only where later blocks are frozen.
    """

    weight_decay_names: tuple[str, ...] = ("weight_decay",)
    """The attributes that a recipe's weight decay sets."""
    _scaled_rate: Tensor | None = None

    def __init__(
        self, learning_rate: Any = 1e-3, *, layer_decay: float = 1.0, num_layers: int | None = None, **kwargs: Any
    ) -> None:
        if not is_number(layer_decay) or not 0 < layer_decay <= 1:
            raise InvalidArgumentError(f"layer_decay={layer_decay!r} is not a number above 0 and at most 1.")
        if num_layers is not None and (type(num_layers) is not int or num_layers < 1):
            raise InvalidArgumentError(f"num_layers={num_layers!r} is not a positive integer.")
        super().__init__(learning_rate, **kwargs)
        self.layer_decay = float(layer_decay)
        self.num_layers = num_layers
        self.exclude_from_weight_decay(var_names=_NO_DECAY_PATTERNS)

    def build(self, variables: Iterable[keras.Variable]) -> None:
        variables = list(variables)
        if self.gradient_accumulation_steps and (devices := count_replicas()) > 1:
            raise InvalidArgumentError(
                f"gradient_accumulation_steps={self.gradient_accumulation_steps} on {devices} devices: on TensorFlow, Keras "
                "accumulates gradients on one device only. Leave it out, since each device has a part of the batch, or use JAX."
            )
        if self.layer_decay < 1:
            paths = [variable.path for variable in variables]
            self._scales = layer_scales(paths, self.layer_decay, num_layers=self.num_layers)
        super().build(variables)

    def _group_by_scale(self, variables: Sequence[keras.Variable]) -> Iterator[tuple[float, list[int]]]:
        if self.layer_decay == 1:
            yield 1.0, list(range(len(variables)))
            return
        groups: dict[float, list[int]] = {}
        for index, variable in enumerate(variables):
            groups.setdefault(self._scales[self._get_variable_index(variable)], []).append(index)
        yield from groups.items()

    def _get_current_learning_rate(self) -> Tensor:
        if self._scaled_rate is not None:
            return self._scaled_rate
        if isinstance(self._learning_rate, keras.optimizers.schedules.LearningRateSchedule):
            return self._learning_rate(self.iterations)  # Keras would count batches, also with accumulated gradients
        return super()._get_current_learning_rate()

    def _apply_weight_decay(self, variables: Sequence[keras.Variable]) -> None:
        variables = [variable for variable in variables if self._use_weight_decay(variable)]
        if not variables:  # torch's multiplication of a list fails on an empty one
            return
        # Keras reads the rate once per variable and would compute a schedule each time. With several devices on TensorFlow this
        # method runs once per device, interleaved and in step: all set the same value, which must not be scaled twice.
        self._scaled_rate = None
        rate = self._get_current_learning_rate()
        try:
            for scale, indices in self._group_by_scale(variables):
                self._scaled_rate = rate * scale
                super()._apply_weight_decay([variables[index] for index in indices])
        finally:
            self._scaled_rate = None

    def _backend_update_step(
        self, grads: Sequence[Any], trainable_variables: Sequence[Any], learning_rate: Any
    ) -> None:
        for scale, indices in self._group_by_scale(trainable_variables):
            chosen = [trainable_variables[index] for index in indices]
            super()._backend_update_step([grads[index] for index in indices], chosen, learning_rate * scale)

    def _clip_gradients(self, grads: Sequence[Tensor]) -> Sequence[Tensor]:
        replicas = count_replicas()
        if replicas == 1 or not (self.clipnorm or self.global_clipnorm or self.clipvalue):
            clipped: Sequence[Tensor] = super()._clip_gradients(grads)
            return clipped
        import tensorflow as tf

        # Keras would clip each device's part. Clip the sum instead, and give each device an equal part: Keras adds them up.
        total = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, list(grads))
        return [gradient / replicas for gradient in super()._clip_gradients(total)]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "layer_decay": self.layer_decay, "num_layers": self.num_layers}


@keras.saving.register_keras_serializable(package="vit_keras")
class AdamW(_Optimizer, select_fastest(keras.optimizers.AdamW)):  # type: ignore[misc]
    """AdamW without weight decay on `NO_DECAY`.

    Paper: Loshchilov and Hutter 2019, arXiv 1711.05101.

    Args:
        learning_rate: A number or a schedule, which counts optimizer steps.
        layer_decay: Factor of the learning rate per layer, from the head down; 1 for the same rate everywhere.
        **kwargs: `num_layers`, the model's blocks where the last are frozen; arguments of `keras.optimizers.AdamW`.
    """


@keras.saving.register_keras_serializable(package="vit_keras")
class Muon(_Optimizer, select_fastest(keras.optimizers.Muon)):  # type: ignore[misc]
    """Orthogonalized updates for the matrices in the blocks, AdamW for everything else.

    Paper: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon; the learning rate is scaled as in Liu et al. 2025, arXiv
    2502.16982, so AdamW's learning rates and weight decays apply. Three iterations orthogonalize well enough here; Keras takes five.

    Args:
        learning_rate: A number or a schedule, which counts optimizer steps.
        weight_decay: Per step and unit of learning rate, for both kinds of update; none on `NO_DECAY`.
        beta_2: Decay of AdamW's second moment.
        **kwargs: `layer_decay` and `num_layers` as for `AdamW`; arguments of `keras.optimizers.Muon`.
    """

    weight_decay_names = ("weight_decay", "adam_weight_decay")

    def __init__(
        self, learning_rate: Any = 1e-3, *, weight_decay: float = 0.1, beta_2: float = 0.999, **kwargs: Any
    ) -> None:
        defaults = {"adam_weight_decay": weight_decay, "adam_beta_2": beta_2, "exclude_layers": ["head"], "ns_steps": 3}
        super().__init__(learning_rate, weight_decay=weight_decay, **{**defaults, **kwargs})


@keras.saving.register_keras_serializable(package="vit_keras")
class Lion(_Optimizer, select_fastest(keras.optimizers.Lion)):  # type: ignore[misc]
    """The sign of a momentum as the update; its learning rate is a third to a tenth of AdamW's.

    Paper: Chen et al. 2023, arXiv 2302.06675.

    Args:
        learning_rate: A number or a schedule, which counts optimizer steps.
        **kwargs: `layer_decay` and `num_layers` as for `AdamW`; arguments of `keras.optimizers.Lion`.
    """

    def __init__(self, learning_rate: Any = 1e-4, **kwargs: Any) -> None:
        super().__init__(learning_rate, **kwargs)


@keras.saving.register_keras_serializable(package="vit_keras")
class Lamb(_Optimizer, select_fastest(keras.optimizers.Lamb)):  # type: ignore[misc]
    """Adam's update scaled to the norm of the weights it changes, for large batches.

    Paper: You et al. 2020, arXiv 1904.00962. As in Keras, weight decay is decoupled from the update; the paper adds it before the
    update is scaled.

    Args:
        learning_rate: A number or a schedule, which counts optimizer steps.
        **kwargs: `layer_decay` and `num_layers` as for `AdamW`; arguments of `keras.optimizers.Lamb`.
    """


@keras.saving.register_keras_serializable(package="vit_keras")
class SGD(_Optimizer, select_fastest(keras.optimizers.SGD)):  # type: ignore[misc]
    """Gradient descent with momentum.

    Args:
        learning_rate: A number or a schedule, which counts optimizer steps.
        momentum: Fraction of the previous update that is added to the next.
        **kwargs: `layer_decay` and `num_layers` as for `AdamW`; arguments of `keras.optimizers.SGD`.
    """

    def __init__(self, learning_rate: Any = 0.01, *, momentum: float = 0.9, **kwargs: Any) -> None:
        super().__init__(learning_rate, momentum=float(momentum), **kwargs)
