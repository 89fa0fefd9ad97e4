"""vit_keras' own names: each weight is stored under its own name."""

from vit_keras.weights.mappings.libraries.timm import TIMM, TIMM_PARALLEL
from vit_keras.weights.mappings.tables import Table, row, way

_LONGEST_STEM = 8  # convolutions that halve the image: patches of 256 px
_STEM = [
    f"conv_stem/{weight}"
    for index in range(_LONGEST_STEM)
    for weight in (
        f"convolution_{index}/kernel",
        *(f"norm_{index}/{name}" for name in ("gamma", "beta", "moving_mean", "moving_variance")),
    )
]
_NAMES = dict.fromkeys([target for item in (*TIMM.rows, *TIMM_PARALLEL.rows) for target in item.targets] + _STEM)

NATIVE = Table(
    source="vit_keras",
    title="a preset directory of vit_keras",
    signs=(r"block_00/attention/qkv/kernel",),
    rows=tuple(row(name, way(name)) for name in _NAMES),
    digits=2,
)
