"""Google's names: vision_transformer's and big_vision's `.npz` files, whose parameters are a tree with "/" between its names.

Every layout is first brought to big_vision's newest. What was compared: vision_transformer's `vit_jax/checkpoint.py` and
big_vision's `models/vit.py`, whose `fix_old_checkpoints` lists the older layouts.
"""

from vit_keras.weights.mappings.layouts import FLAX_CONV, HEADS_BIAS, HEADS_IN, HEADS_OUT, SAME, Layout
from vit_keras.weights.mappings.pixel_statistics import HALF
from vit_keras.weights.mappings.tables import Row, Table, row, way

_B = "block_{i}"
_BLOCK, _STACK = "Transformer/encoderblock_{i}", "Transformer/encoderblock"
_ATTENTION, _MLP = "MultiHeadDotProductAttention_0", "MlpBlock_0"


def _in_block(ours: str, *theirs: str, layout: Layout = SAME) -> Row:
    """Returns a row that reads loop form and scan form, the latter with an axis over all blocks in front."""
    return row(
        f"{_B}/{ours}",
        way(*(f"{_BLOCK}/{name}" for name in theirs), layout=layout),
        way(*(f"{_STACK}/{name}" for name in theirs), layout=layout, stacked=0, when=lambda _: False),
    )


def _attention(names: str, suffix: str) -> tuple[str, ...]:
    return tuple(f"{_ATTENTION}/{name}/{suffix}" for name in names.split())


def _outside(ours: str, *theirs: str, layout: Layout = SAME) -> Row:
    return row(ours, way(*theirs, layout=layout))


_POOL = "MAPHead_0"

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
        _outside("patch_encoder/projection/kernel", "embedding/kernel", layout=FLAX_CONV),
        _outside("patch_encoder/projection/bias", "embedding/bias"),
        _outside("patch_encoder/class_token", "cls"),
        _outside("patch_encoder/position_embedding", "pos_embedding"),
        _in_block("attention_norm/gamma", "LayerNorm_0/scale"),
        _in_block("attention_norm/beta", "LayerNorm_0/bias"),
        _in_block("attention/qkv/kernel", *_attention("query key value", "kernel"), layout=HEADS_OUT),
        _in_block("attention/qkv/bias", *_attention("query key value", "bias"), layout=HEADS_BIAS),
        _in_block("attention/output/kernel", *_attention("out", "kernel"), layout=HEADS_IN),
        _in_block("attention/output/bias", *_attention("out", "bias")),
        _in_block("mlp_norm/gamma", "LayerNorm_1/scale"),
        _in_block("mlp_norm/beta", "LayerNorm_1/bias"),
        _in_block("mlp/expand/kernel", f"{_MLP}/Dense_0/kernel"),
        _in_block("mlp/expand/bias", f"{_MLP}/Dense_0/bias"),
        _in_block("mlp/contract/kernel", f"{_MLP}/Dense_1/kernel"),
        _in_block("mlp/contract/bias", f"{_MLP}/Dense_1/bias"),
        _outside("final_norm/gamma", "Transformer/encoder_norm/scale"),
        _outside("final_norm/beta", "Transformer/encoder_norm/bias"),
        _outside("pooling/probe", f"{_POOL}/probe"),
        _outside("pooling/query/kernel", f"{_POOL}/{_ATTENTION}/query/kernel", layout=HEADS_OUT),
        _outside("pooling/query/bias", f"{_POOL}/{_ATTENTION}/query/bias", layout=HEADS_BIAS),
        _outside(
            "pooling/key_value/kernel", *(f"{_POOL}/{name}" for name in _attention("key value", "kernel")),
            layout=HEADS_OUT,
        ),
        _outside(
            "pooling/key_value/bias", *(f"{_POOL}/{name}" for name in _attention("key value", "bias")),
            layout=HEADS_BIAS,
        ),
        _outside("pooling/output/kernel", f"{_POOL}/{_ATTENTION}/out/kernel", layout=HEADS_IN),
        _outside("pooling/output/bias", f"{_POOL}/{_ATTENTION}/out/bias"),
        _outside("pooling/mlp_norm/gamma", f"{_POOL}/LayerNorm_0/scale"),
        _outside("pooling/mlp_norm/beta", f"{_POOL}/LayerNorm_0/bias"),
        _outside("pooling/mlp/expand/kernel", f"{_POOL}/{_MLP}/Dense_0/kernel"),
        _outside("pooling/mlp/expand/bias", f"{_POOL}/{_MLP}/Dense_0/bias"),
        _outside("pooling/mlp/contract/kernel", f"{_POOL}/{_MLP}/Dense_1/kernel"),
        _outside("pooling/mlp/contract/bias", f"{_POOL}/{_MLP}/Dense_1/bias"),
        *(
            _outside(f"{layer}/{weight}", f"{layer}/{weight}")
            for layer in ("pre_logits", "head")
            for weight in ("kernel", "bias")
        ),
    ),
    ignored=(
        (r"txt/.*|t|b|temperature|bias_init", "of the text tower"),
        (r"opt/.*|step|extra/.*", "the optimizer's"),
    ),
    head_features=(
        (r"cls", {"pooling": "token"}),
        (r"Transformer/encoder_norm/scale", {"final_norm": "before"}),
    ),
    convention={**HALF, "norm_epsilon": 1e-6},
)  # fmt: skip
