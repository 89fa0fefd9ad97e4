"""Google's names: `.npz` files of vision_transformer and big_vision, whose parameter trees are joined by "/".

All layouts are renamed to big_vision's newest. Compared with vision_transformer's `vit_jax/checkpoint.py` and big_vision's
`models/vit.py`, whose `fix_old_checkpoints` lists the older layouts.
"""

from vit_keras.weights.mappings.config_fields import HALF
from vit_keras.weights.mappings.layouts import FLAX_CONV, HEADS_BIAS, HEADS_IN, HEADS_OUT, SAME, Layout
from vit_keras.weights.mappings.tables import NO_ROTARY, Row, Table, never, row, way

_B = "block_{i}"
_BLOCK, _STACK = "Transformer/encoderblock_{i}", "Transformer/encoderblock"
_ATTENTION, _MLP, _POOL = "MultiHeadDotProductAttention_0", "MlpBlock_0", "MAPHead_0"


def _row(ours: str, *theirs: str, layout: Layout = SAME) -> Row:
    if not ours.startswith(_B):
        return row(ours, way(*theirs, layout=layout))
    return row(
        ours,
        way(*(f"{_BLOCK}/{name}" for name in theirs), layout=layout),
        # The scan form has one tensor for all blocks.
        way(*(f"{_STACK}/{name}" for name in theirs), layout=layout, stacked=0, when=never),
    )


def _norm(ours: str, theirs: str) -> tuple[Row, Row]:
    return _row(f"{ours}/gamma", f"{theirs}/scale"), _row(f"{ours}/beta", f"{theirs}/bias")


def _dense(ours: str, *theirs: str, layout: Layout = SAME, bias_layout: Layout = SAME) -> tuple[Row, Row]:
    kernels, biases = ([f"{name}/{word}" for name in theirs] for word in ("kernel", "bias"))
    return _row(f"{ours}/kernel", *kernels, layout=layout), _row(f"{ours}/bias", *biases, layout=bias_layout)


GOOGLE = Table(
    source="google",
    title="Google's vision_transformer or big_vision",
    signs=(r"embedding/kernel", r"Transformer/encoderblock(?:_\d+)?/LayerNorm_0/scale"),
    renames=(
        (r"^(?:opt/target/|params/)", ""),
        (r"^img/", ""),
        (r"^Transformer/(?:posembed_input/)?pos_embedding$", "pos_embedding"),
        (r"^(Transformer/encoderblock(?:_\d+)?)/LayerNorm_2/", r"\1/LayerNorm_1/"),
        (r"^(Transformer/encoderblock(?:_\d+)?)/MultiHeadDotProductAttention_1/", r"\1/MultiHeadDotProductAttention_0/"),
        (r"^(Transformer/encoderblock(?:_\d+)?)/MlpBlock_3/", r"\1/MlpBlock_0/"),
        (r"^(probe$|MlpBlock_0/|MultiHeadDotProductAttention_0/|LayerNorm_0/)", r"MAPHead_0/\1"),
    ),
    rows=(
        *_dense("patch_encoder/projection", "embedding", layout=FLAX_CONV),
        _row("patch_encoder/class_token", "cls"),
        _row("patch_encoder/position_embedding", "pos_embedding"),
        *_norm(f"{_B}/attention_norm", "LayerNorm_0"),
        *_dense(
            f"{_B}/attention/qkv", *(f"{_ATTENTION}/{name}" for name in ("query", "key", "value")),
            layout=HEADS_OUT, bias_layout=HEADS_BIAS,
        ),
        *_dense(f"{_B}/attention/output", f"{_ATTENTION}/out", layout=HEADS_IN),
        *_norm(f"{_B}/mlp_norm", "LayerNorm_1"),
        *_dense(f"{_B}/mlp/expand", f"{_MLP}/Dense_0"),
        *_dense(f"{_B}/mlp/contract", f"{_MLP}/Dense_1"),
        *_norm("final_norm", "Transformer/encoder_norm"),
        _row("pooling/probe", f"{_POOL}/probe"),
        *_dense("pooling/query", f"{_POOL}/{_ATTENTION}/query", layout=HEADS_OUT, bias_layout=HEADS_BIAS),
        *_dense(
            "pooling/key_value", f"{_POOL}/{_ATTENTION}/key", f"{_POOL}/{_ATTENTION}/value",
            layout=HEADS_OUT, bias_layout=HEADS_BIAS,
        ),
        *_dense("pooling/output", f"{_POOL}/{_ATTENTION}/out", layout=HEADS_IN),
        *_norm("pooling/mlp_norm", f"{_POOL}/LayerNorm_0"),
        *_dense("pooling/mlp/expand", f"{_POOL}/{_MLP}/Dense_0"),
        *_dense("pooling/mlp/contract", f"{_POOL}/{_MLP}/Dense_1"),
        *_dense("pre_logits", "pre_logits"),
        *_dense("head", "head"),
    ),
    ignored=(
        (r"txt/.*|t|b|temperature|bias_init", "text tower"),
        (r"opt/.*|step|extra/.*", "optimizer state"),
    ),
    head_features=(
        (r"cls", {"pooling": "token"}),
        (r"Transformer/encoder_norm/scale", {"final_norm": "before"}),
    ),
    convention={**HALF, "norm_epsilon": 1e-6},
    certain=NO_ROTARY,
)  # fmt: skip
