"""How many classes a checkpoint's head tells apart."""

from collections.abc import Mapping

from vit_keras.weights.formats.tensor_file import TensorInfo
from vit_keras.weights.mappings.tables import Table


def count_classes(table: Table, tensors: Mapping[str, TensorInfo]) -> int | None:
    """Returns how many classes the head in a file tells apart, or None where it has no head.

    Args:
        table: The file's.
        tensors: Its tensors, by the table's names.

    Example:
        >>> from vit_keras.weights.mappings.timm import TIMM
        >>> count_classes(TIMM, {"head.weight": TensorInfo((10, 8), "float32")})
        10
    """
    for line in table.rows:
        if line.targets != ("head/kernel",):
            continue
        for way in line.ways:
            if len(way.names) == 1 and way.names[0] in tensors:
                shape = way.layout.our_shape(tensors[way.names[0]].shape)
                return shape[-1] if shape else None
    return None
