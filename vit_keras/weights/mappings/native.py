"""Our own names: every weight stands under its own."""

from vit_keras.weights.mappings.tables import Table, row, way
from vit_keras.weights.mappings.timm import TIMM, TIMM_PARALLEL

_LONGEST_STEM = 8  # halvings: patches of 256 px
_STEM = [
    f"conv_stem/{layer}/{weight}"
    for index in range(_LONGEST_STEM)
    for layer, weights in (
        (f"convolution_{index}", ("kernel",)),
        (f"norm_{index}", ("gamma", "beta", "moving_mean", "moving_variance")),
    )
    for weight in weights
]
_NAMES = dict.fromkeys([target for line in (*TIMM.rows, *TIMM_PARALLEL.rows) for target in line.targets] + _STEM)

NATIVE = Table(
    source="vit_keras",
    title="a preset directory of vit_keras",
    signs=(r"block_00/attention/qkv/kernel",),
    rows=tuple(row(name, way(name)) for name in _NAMES),
    digits=2,
)
