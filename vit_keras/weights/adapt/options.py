"""The options for loading a checkpoint into a model of another size."""

from dataclasses import dataclass
from typing import Literal, get_args

from vit_keras.errors import InvalidArgumentError
from vit_keras.validation import list_words
from vit_keras.weights.adapt.resize import ChannelResize
from vit_keras.weights.head import HeadChange


@dataclass(frozen=True, kw_only=True)
class AdaptOptions:
    """What may be changed of a checkpoint to fit the model. Positions and patches are resized by the config's rules.

    Args:
        head: "fit" loads the file's if it has as many classes, else keeps the model's; "load" requires it; "new" never loads it.
        fewer_layers: Loads the first blocks of a file that has more than the model.
        grid_size: Rows and columns of the file's positions; None for those of its config.json, else the model's, else a square.
        patch_size: Side of the file's patches, px; None for that of its config.json, else what the kernel's shape reveals.
        channels: How the patch kernel gets other channels; "auto" as timm: "sum" to one channel, "repeat" to any other number.

    Raises:
        InvalidArgumentError: A value is illegal.

    Example:
        >>> AdaptOptions(head="new").fewer_layers
        False
    """

    head: HeadChange = "fit"
    fewer_layers: bool = False
    grid_size: tuple[int, int] | None = None
    patch_size: int | None = None
    channels: ChannelResize | Literal["auto"] = "auto"

    def __post_init__(self) -> None:
        for name, choices in (("head", get_args(HeadChange)), ("channels", ("auto", *get_args(ChannelResize)))):
            if getattr(self, name) not in choices:
                raise InvalidArgumentError(f"{name}={getattr(self, name)!r} is none of {list_words(choices)}.")
        grid = self.grid_size
        if grid is not None and (len(grid) != 2 or not all(type(side) is int and side > 0 for side in grid)):
            raise InvalidArgumentError(f"grid_size={grid!r} is not (rows, columns).")
        side = self.patch_size
        if side is not None and (type(side) is not int or side < 1):
            raise InvalidArgumentError(f"patch_size={side!r} is not a positive number of px.")
