"""A learning rate that shrinks from the head down: what is early in a trained model changes least."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import keras

from vit_keras.config import is_number
from vit_keras.errors import InvalidArgumentError

_BLOCK = re.compile(r"(?:^|/)block_(\d+)/")
_STEM = re.compile(r"(?:^|/)(?:conv_stem|patch_encoder|stem_norm)/")
_FINAL_NORM = re.compile(r"(?:^|/)final_norm/")


def layer_scales(paths: Sequence[str], layer_decay: float) -> list[float]:
    """Returns the factor of the learning rate of each variable: 1 for the head, and `layer_decay` less a layer towards the images.

    The layers are the stem with tokens and positions, each block, the final norm with the last block, and the head. Paper: Clark
    et al. 2020, arXiv 2003.10555; for Vision Transformers Bao et al. 2022, arXiv 2106.08254. The numbers are timm's.

    Args:
        paths: Of the variables of a model that `vit` made.
        layer_decay: Factor a layer, above 0 and 1 at most.

    Raises:
        InvalidArgumentError: No path is of a block.

    Example:
        >>> layer_scales(["patch_encoder/class_token", "block_00/mlp/expand/kernel", "final_norm/gamma", "head/bias"], 0.5)
        [0.25, 0.5, 0.5, 1.0]
    """
    blocks = [int(found[1]) for path in paths if (found := _BLOCK.search(path))]
    if not blocks:
        raise InvalidArgumentError(
            f"layer_decay={layer_decay}: none of the variables is of a block, such as block_00/mlp/expand/kernel; the first are "
            f"{list(paths[:3])}. It is for models that vk.vit and vk.from_preset make."
        )
    last = max(blocks) + 1

    def layer(path: str) -> int:
        found = _BLOCK.search(path)
        if found:
            return int(found[1]) + 1
        if _STEM.search(path):
            return 0
        return last if _FINAL_NORM.search(path) else last + 1

    return [layer_decay ** (last + 1 - layer(path)) for path in paths]


class LayerDecay(keras.optimizers.Optimizer):
    """What an optimizer needs to have layer-wise rates; stands before Keras' optimizer among the bases.

    One learning rate is set, logged and scheduled; updates and weight decay are scaled a variable.

    Args:
        layer_decay: Factor of the rate a layer, from the head down; 1 for the same rate everywhere.
        **kwargs: The optimizer's own.

    Raises:
        InvalidArgumentError: `layer_decay` is not above 0 and 1 at most.
    """

    _decays: tuple[str, ...] = ("weight_decay",)

    def __init__(self, *args: Any, layer_decay: float = 1.0, **kwargs: Any) -> None:
        if not is_number(layer_decay) or not 0 < layer_decay <= 1:
            raise InvalidArgumentError(f"layer_decay={layer_decay!r} is not a number above 0 and 1 at most.")
        super().__init__(*args, **kwargs)
        self.layer_decay = float(layer_decay)

    def build(self, variables: Iterable[keras.Variable]) -> None:
        """Makes the optimizer's state, and refuses variables that are in no layer of ours."""
        variables = list(variables)
        if self.layer_decay < 1:
            self._scales = layer_scales([variable.path for variable in variables], self.layer_decay)
        super().build(variables)

    def _by_scale(self, variables: Sequence[keras.Variable]) -> Iterator[tuple[float, list[int]]]:
        """Yields each factor with the places of the variables that have it."""
        places: dict[float, list[int]] = {}
        for place, variable in enumerate(variables):
            places.setdefault(self._scales[self._get_variable_index(variable)], []).append(place)
        yield from places.items()

    def _apply_weight_decay(self, variables: Sequence[keras.Variable]) -> None:
        if self.layer_decay == 1:
            super()._apply_weight_decay(variables)
            return
        own = {name: getattr(self, name) for name in self._decays}
        try:
            for scale, places in self._by_scale(variables):
                for name, value in own.items():
                    setattr(self, name, None if value is None else value * scale)
                decayed = [variables[place] for place in places if self._use_weight_decay(variables[place])]
                if decayed:
                    super()._apply_weight_decay(decayed)
        finally:
            for name, value in own.items():
                setattr(self, name, value)

    def _backend_update_step(
        self, grads: Sequence[Any], trainable_variables: Sequence[Any], learning_rate: Any
    ) -> None:
        if self.layer_decay == 1:
            super()._backend_update_step(grads, trainable_variables, learning_rate)
            return
        for scale, places in self._by_scale(trainable_variables):
            chosen = [trainable_variables[place] for place in places]
            super()._backend_update_step([grads[place] for place in places], chosen, learning_rate * scale)

    def get_config(self) -> dict[str, Any]:
        """Returns what builds it again."""
        return {**super().get_config(), "layer_decay": self.layer_decay}
