"""Infers a checkpoint's model size from its tensors' shapes, for error messages."""

from collections.abc import Mapping

from vit_keras.config import ViTConfig
from vit_keras.weights.adapt.patches import find_patches
from vit_keras.weights.formats.tensor_file import TensorInfo
from vit_keras.weights.mappings.tables import Table

# Width and blocks of the published sizes, with timm's names.
_SIZES: dict[tuple[int | None, int | None], str] = {
    (192, 12): "tiny", (384, 12): "small", (512, 8): "medium", (768, 12): "base", (1024, 24): "large", (1152, 27): "so400m",
    (1280, 32): "huge", (1408, 40): "giant", (1536, 40): "giant", (1664, 48): "gigantic",
}  # fmt: skip


def infer_sizes(table: Table, tensors: Mapping[str, TensorInfo], config: ViTConfig) -> str | None:
    """Returns the sizes of a file of another width or depth than the config's; None where its shapes reveal no difference."""
    hidden_dim = patch_size = None
    for way in table.ways_to("patch_encoder/projection/kernel"):
        if way.names[0] in tensors:
            shape = tensors[way.names[0]].shape
            ours = way.layout.our_shape(shape)
            patches = find_patches(shape, way.layout, config) if ours is not None and len(ours) == 2 else None
            hidden_dim = ours[-1] if ours is not None else None
            patch_size = patches.side if patches is not None else None
    num_layers = count_blocks(table, tensors)
    if hidden_dim in (None, config.hidden_dim) and num_layers in (None, config.num_layers):
        return None
    size = _SIZES.get((hidden_dim, num_layers))
    name = f"vit_{size}_patch{patch_size}: " if size and patch_size else ""
    return f"{name}{num_layers} blocks of width {hidden_dim}, patches of {patch_size} px"


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
