"""How many classes a checkpoint's head tells apart."""

from pathlib import Path

from vit_keras.weights.formats.opening import open_tensors
from vit_keras.weights.mappings.sources import find_table


def num_classes_in(path: str | Path, *, source: str = "auto") -> int | None:
    """Returns how many classes the head in a file tells apart, or None where it has no head; no number is read.

    Args:
        path: A checkpoint, as `load` takes it.
        source: The library whose names it has, or "auto" to go by them.

    Raises:
        StorageError: The file is not there or can't be read.
        InvalidArgumentError: It is of a kind that is not read, or there is no such source.
        CorruptFileError: It is damaged.
        WeightMismatchError: Its names are those of no Vision Transformer.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from vit_keras.weights.store import write_tensors
        >>> names = {"patch_embed.proj.weight": (8, 3, 4, 4), "blocks.0.norm1.weight": (8,), "head.weight": (10, 8)}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_tensors({name: np.zeros(shape) for name, shape in names.items()}, Path(folder) / "model.safetensors")
        ...     num_classes_in(folder)
        10
    """
    with open_tensors(path) as file:
        table = find_table(file.tensors, source, path=file.path)
        names = {table.canonical(name): name for name in file.tensors}
        for line in table.rows:
            if line.targets != ("head/kernel",):
                continue
            for way in line.ways:
                if len(way.names) == 1 and way.names[0] in names:
                    shape = way.layout.our_shape(file.tensors[names[way.names[0]]].shape)
                    return shape[-1] if shape else None
    return None
