"""Infers a checkpoint's model size from its tensors' shapes, for error messages."""

from collections.abc import Mapping
from dataclasses import dataclass

from vit_keras.config import ViTConfig
from vit_keras.weights.adapt.patches import find_patches
from vit_keras.weights.formats.tensor_file import TensorInfo
from vit_keras.weights.mappings.tables import Table

# Width and blocks of the published sizes, with timm's names.
_SIZES = {
    (192, 12): "tiny", (384, 12): "small", (512, 8): "medium", (768, 12): "base", (1024, 24): "large", (1152, 27): "so400m",
    (1280, 32): "huge", (1408, 40): "giant", (1536, 40): "giant", (1664, 48): "gigantic",
}  # fmt: skip


@dataclass(frozen=True)
class InferredSizes:
    """The sizes that a file's shapes reveal; None where they do not."""

    hidden_dim: int | None  # width of a token
    num_layers: int | None  # transformer blocks
    patch_size: int | None  # side of a patch, px

    def __str__(self) -> str:
        size = _SIZES.get((self.hidden_dim or 0, self.num_layers or 0))
        name = f"vit_{size}_patch{self.patch_size}: " if size and self.patch_size else ""
        return f"{name}{self.num_layers} blocks of width {self.hidden_dim}, patches of {self.patch_size} px"

    def differs(self, config: ViTConfig) -> bool:
        """Whether the file has another width or depth than a config."""
        pairs = ((self.hidden_dim, config.hidden_dim), (self.num_layers, config.num_layers))
        return any(found is not None and found != wanted for found, wanted in pairs)


def infer_sizes(table: Table, tensors: Mapping[str, TensorInfo], config: ViTConfig) -> InferredSizes:
    """Returns the sizes that a file's shapes reveal."""
    hidden_dim = patch_size = None
    for row in table.rows:
        for way in row.ways if row.targets == ("patch_encoder/projection/kernel",) else ():
            if way.names[0] in tensors:
                shape = tensors[way.names[0]].shape
                ours = way.layout.our_shape(shape)
                patches = find_patches(shape, way.layout, config) if ours is not None and len(ours) == 2 else None
                hidden_dim = ours[-1] if ours is not None else None
                patch_size = patches.side if patches is not None else None
    return InferredSizes(hidden_dim, count_blocks(table, tensors), patch_size)


def count_blocks(table: Table, tensors: Mapping[str, TensorInfo]) -> int | None:
    """Returns the number of blocks in a file; None where it has no known block."""
    numbers = [int(number) + 1 for name in tensors for _, number in table.find_rows(name) if number is not None]
    stacks = [
        tensors[name].shape[way.stacked]
        for row in table.rows
        for way in row.ways
        for name in way.names
        if way.stacked is not None and name in tensors and len(tensors[name].shape) > way.stacked
    ]
    return max(numbers) if numbers else max(stacks, default=None)
