"""A learning rate that shrinks from the head down: what is early in a trained model changes least."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import keras

from vit_keras.errors import InvalidArgumentError
from vit_keras.layers.base.checks import Tensor
from vit_keras.validation import is_number

_BLOCK = re.compile(r"(?:^|/)block_(\d+)/")
_STEM = re.compile(r"(?:^|/)(?:conv_stem|patch_encoder|stem_norm)/")
_FINAL_NORM = re.compile(r"(?:^|/)final_norm/")
_HEAD = re.compile(r"(?:^|/)(?:pooling|pre_logits|head|head_distillation)/")


def layer_scales(paths: Sequence[str], layer_decay: float, *, num_layers: int | None = None) -> list[float]:
    """Returns the factor of the learning rate of each variable: 1 for the head, and `layer_decay` less a layer towards the images.

    The layers are the stem with tokens and positions, each block, the final norm with the last block, and the head. Paper: Clark
    et al. 2020, arXiv 2003.10555; for Vision Transformers Bao et al. 2022, arXiv 2106.08254. The numbers are timm's.

    Args:
        paths: Of the variables of a model that `vit` made.
        layer_decay: Factor a layer, above 0 and 1 at most.
        num_layers: Blocks of the model; None to take the last block that is there for the model's last.

    Raises:
        InvalidArgumentError: No path is of such a model, or how many blocks it has can't be known.

    Example:
        >>> layer_scales(["patch_encoder/class_token", "block_00/mlp/expand/kernel", "final_norm/gamma", "head/bias"], 0.5)
        [0.25, 0.5, 0.5, 1.0]
    """
    last = _last_block(paths, layer_decay, num_layers)

    def layer(path: str) -> int:
        found = _BLOCK.search(path)
        if found:
            return int(found[1]) + 1
        if _STEM.search(path):
            return 0
        return last if _FINAL_NORM.search(path) else last + 1

    return [layer_decay ** (last + 1 - layer(path)) for path in paths]


def _last_block(paths: Sequence[str], layer_decay: float, num_layers: int | None) -> int:
    """Returns the number of blocks, which frozen blocks leave unknown; the head and the norm before it don't depend on it."""
    blocks = [int(found[1]) for path in paths if (found := _BLOCK.search(path))]
    if num_layers is not None:
        if blocks and max(blocks) >= num_layers:
            raise InvalidArgumentError(f"num_layers={num_layers} is too few: there is a block_{max(blocks):02d}.")
        return num_layers
    if blocks:
        return max(blocks) + 1
    if any(_STEM.search(path) for path in paths):
        raise InvalidArgumentError(
            f"layer_decay={layer_decay}: the stem is trained and no block is, so that its rate can't be known; say how many "
            "blocks the model has, as num_layers=12."
        )
    if not any(_HEAD.search(path) or _FINAL_NORM.search(path) for path in paths):
        raise InvalidArgumentError(
            f"layer_decay={layer_decay}: none of the variables is of a block, such as block_00/mlp/expand/kernel, or of a head; "
            f"the first are {list(paths[:3])}. It is for models that vk.vit and vk.from_preset make."
        )
    return 0


class LayerDecay(keras.optimizers.Optimizer):
    """What an optimizer needs to have layer-wise rates; stands before Keras' optimizer among the bases.

    One learning rate is set, logged and scheduled; updates and weight decay are scaled a variable.

    Args:
        layer_decay: Factor of the rate a layer, from the head down; 1 for the same rate everywhere.
        num_layers: Blocks of the model. None takes the last block that is trained for the model's last, which is wrong only where
            blocks are trained and later ones are not.
        **kwargs: The optimizer's own.

    Raises:
        InvalidArgumentError: `layer_decay` is not above 0 and 1 at most, or `num_layers` no positive whole number.
    """

    _rate: Tensor | None = None

    def __init__(self, *args: Any, layer_decay: float = 1.0, num_layers: int | None = None, **kwargs: Any) -> None:
        if not is_number(layer_decay) or not 0 < layer_decay <= 1:
            raise InvalidArgumentError(f"layer_decay={layer_decay!r} is not a number above 0 and 1 at most.")
        if num_layers is not None and (type(num_layers) is not int or num_layers < 1):
            raise InvalidArgumentError(f"num_layers={num_layers!r} is not a positive whole number.")
        super().__init__(*args, **kwargs)
        self.layer_decay = float(layer_decay)
        self.num_layers = num_layers

    def build(self, variables: Iterable[keras.Variable]) -> None:
        """Makes the optimizer's state, and refuses variables that are in no layer of ours."""
        variables = list(variables)
        if self.layer_decay < 1:
            paths = [variable.path for variable in variables]
            self._scales = layer_scales(paths, self.layer_decay, num_layers=self.num_layers)
        super().build(variables)

    def _by_scale(self, variables: Sequence[keras.Variable]) -> Iterator[tuple[float, list[int]]]:
        """Yields each factor with the places of the variables that have it."""
        if self.layer_decay == 1:
            yield 1.0, list(range(len(variables)))
            return
        places: dict[float, list[int]] = {}
        for place, variable in enumerate(variables):
            places.setdefault(self._scales[self._get_variable_index(variable)], []).append(place)
        yield from places.items()

    def _get_current_learning_rate(self) -> Tensor:
        return super()._get_current_learning_rate() if self._rate is None else self._rate

    def _apply_weight_decay(self, variables: Sequence[keras.Variable]) -> None:
        variables = [variable for variable in variables if self._use_weight_decay(variable)]
        if not variables:  # torch multiplies no empty list
            return
        # Keras asks for the rate at each variable and would compute a schedule as often. With several devices on TensorFlow this
        # runs once for each, all in step, so that what is set here is set to the same by all.
        self._rate = None
        rate = self._get_current_learning_rate()
        try:
            for scale, places in self._by_scale(variables):
                self._rate = rate * scale
                super()._apply_weight_decay([variables[place] for place in places])
        finally:
            self._rate = None

    def _backend_update_step(
        self, grads: Sequence[Any], trainable_variables: Sequence[Any], learning_rate: Any
    ) -> None:
        for scale, places in self._by_scale(trainable_variables):
            chosen = [trainable_variables[place] for place in places]
            super()._backend_update_step([grads[place] for place in places], chosen, learning_rate * scale)

    def get_config(self) -> dict[str, Any]:
        """Returns what builds it again."""
        return {**super().get_config(), "layer_decay": self.layer_decay, "num_layers": self.num_layers}
