"""Layer-wise learning rates: the factor of each variable, from 1 at the head down to the stem."""

import re
from collections.abc import Sequence

from vit_keras.errors import InvalidArgumentError
from vit_keras.validation import list_words

_BLOCK = re.compile(r"(?:^|/)block_(\d+)/")
_STEM = re.compile(r"(?:^|/)(?:conv_stem|patch_encoder|stem_norm)/|(?:^|/)relative_position/")
_FINAL_NORM = re.compile(r"(?:^|/)final_norm/")
_HEAD = re.compile(r"(?:^|/)(?:pooling|pre_logits|head|head_distillation)/")


def layer_scales(paths: Sequence[str], layer_decay: float, *, num_layers: int | None = None) -> list[float]:
    """Returns the learning rate factor of each variable: 1 for the head, times `layer_decay` per layer below it.

    The stem (with tokens and positions) is one layer, each block is one, the final norm belongs to the last block. Papers: Clark
    et al. 2020, arXiv 2003.10555; Bao et al. 2022, arXiv 2106.08254. The numbers are timm's.
    """
    if num_layers is None:
        num_layers = _infer_num_layers(paths, layer_decay)

    def find_layer(path: str) -> int:
        if block := _BLOCK.search(path):
            if int(block[1]) >= num_layers:
                raise InvalidArgumentError(f"num_layers={num_layers} is too few: there is a block_{block[1]}.")
            return int(block[1]) + 1
        if _STEM.search(path):
            return 0
        return num_layers if _FINAL_NORM.search(path) else num_layers + 1

    return [layer_decay ** (num_layers + 1 - find_layer(path)) for path in paths]


def _infer_num_layers(paths: Sequence[str], layer_decay: float) -> int:
    blocks = [int(block[1]) for path in paths if (block := _BLOCK.search(path))]
    if blocks:
        return max(blocks) + 1
    if any(_STEM.search(path) for path in paths):
        raise InvalidArgumentError(
            f"layer_decay={layer_decay}: the stem is trained and no block is, so the number of layers between the stem and the "
            "head is unknown. Give it, such as num_layers=12."
        )
    if not any(_HEAD.search(path) or _FINAL_NORM.search(path) for path in paths):
        raise InvalidArgumentError(
            f"layer_decay={layer_decay}: no variable belongs to a block, such as block_00/mlp/expand/kernel, or to a head; the "
            f"first are {list_words(paths[:3])}. Layer-wise rates are for models from vk.vit and vk.from_preset."
        )
    return 0  # the factors of the head and of the final norm do not depend on it
