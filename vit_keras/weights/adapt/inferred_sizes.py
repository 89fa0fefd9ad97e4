"""What model a file looks like, told from its tensors' shapes."""

from collections.abc import Mapping
from dataclasses import dataclass

from vit_keras.config import ViTConfig
from vit_keras.weights.adapt.options import find_patches
from vit_keras.weights.formats.tensor_file import TensorInfo
from vit_keras.weights.mappings.tables import Table

# Width and blocks of the published sizes; timm names them so.
_SIZES = {
    (192, 12): "tiny",
    (384, 12): "small",
    (512, 8): "medium",
    (768, 12): "base",
    (1024, 24): "large",
    (1152, 27): "so400m",
    (1280, 32): "huge",
    (1408, 40): "giant",
    (1536, 40): "giant",
    (1664, 48): "gigantic",
}


@dataclass(frozen=True)
class Likeness:
    """The sizes that a file's shapes tell; None where they do not.

    Args:
        hidden_dim: Width of a token.
        num_layers: Transformer blocks.
        patch_size: Side of a patch, px.
    """

    hidden_dim: int | None
    num_layers: int | None
    patch_size: int | None

    def __str__(self) -> str:
        size = _SIZES.get((self.hidden_dim or 0, self.num_layers or 0))
        name = f"vit_{size}_patch{self.patch_size}: " if size and self.patch_size else ""
        return f"{name}{self.num_layers} blocks {self.hidden_dim} wide, patches of {self.patch_size} px"

    def differs(self, config: ViTConfig) -> bool:
        """Whether the file is of another width or depth than a config."""
        pairs = ((self.hidden_dim, config.hidden_dim), (self.num_layers, config.num_layers))
        return any(mine is not None and mine != wanted for mine, wanted in pairs)


def likeness(table: Table, tensors: Mapping[str, TensorInfo], config: ViTConfig) -> Likeness:
    """Returns the sizes that a file's shapes tell.

    Args:
        table: What it is of.
        tensors: Its tensors, by the table's names.
        config: The model's, for what the shapes leave open.
    """
    hidden_dim = patch_size = None
    for line in table.rows:
        for spelling in line.ways:
            if line.targets == ("patch_encoder/projection/kernel",) and spelling.names[0] in tensors:
                shape = tensors[spelling.names[0]].shape
                ours = spelling.layout.our_shape(shape)
                patches = find_patches(shape, spelling.layout, config) if ours is not None and len(ours) == 2 else None
                hidden_dim = ours[-1] if ours is not None else None
                patch_size = patches.side if patches is not None else None
    return Likeness(hidden_dim, count_blocks(table, tensors), patch_size)


def count_blocks(table: Table, tensors: Mapping[str, TensorInfo]) -> int | None:
    """Returns how many blocks a file has, or None where it has none that are known.

    Args:
        table: What it is of.
        tensors: Its tensors, by the table's names.
    """
    numbers = [int(number) + 1 for name in tensors for _, number in table.find_rows(name) if number is not None]
    stacks = [
        tensors[name].shape[spelling.stacked]
        for line in table.rows
        for spelling in line.ways
        for name in spelling.names
        if spelling.stacked is not None and name in tensors and len(tensors[name].shape) > spelling.stacked
    ]
    return max(numbers) if numbers else max(stacks, default=None)
