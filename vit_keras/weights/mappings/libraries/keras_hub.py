"""KerasHub's names, in the files of its `ViTBackbone` and `ViTImageClassifier`. Compared with keras-hub 0.32, `models/vit`."""

from vit_keras.weights.mappings.config_fields import HALF
from vit_keras.weights.mappings.layouts import FLAX_CONV, HEADS_BIAS, HEADS_IN, HEADS_OUT, SAME, TABLE, Layout
from vit_keras.weights.mappings.tables import NO_ROTARY, Row, Table, row, way

_B = "block_{i}"
_EMBEDDING, _ENCODER = "layers/vi_t_patching_and_embedding", "layers/vi_t_encoder"
_BLOCK = f"{_ENCODER}/encoder_layers/vi_t_encoder_block_{{i}}"
_QKV = tuple(f"{_BLOCK}/mha/{name}_dense" for name in ("query", "key", "value"))


def _layer(ours: str, *theirs: str, layout: Layout = SAME, bias_layout: Layout = SAME) -> tuple[Row, Row]:
    words = ("gamma", "beta") if ours.endswith("norm") else ("kernel", "bias")
    return (
        row(f"{ours}/{words[0]}", way(*(f"{name}/vars/0" for name in theirs), layout=layout)),
        row(f"{ours}/{words[1]}", way(*(f"{name}/vars/1" for name in theirs), layout=bias_layout)),
    )


KERAS_HUB = Table(
    source="keras_hub",
    title="KerasHub's ViTBackbone or ViTImageClassifier",
    signs=(r"layers/vi_t_patching_and_embedding/patch_embedding/vars/0", r"layers/vi_t_encoder/layer_norm/vars/0"),
    renames=((r"^(layers/vi_t_encoder/encoder_layers/vi_t_encoder_block)/", r"\1_0/"),),
    rows=(
        *_layer("patch_encoder/projection", f"{_EMBEDDING}/patch_embedding", layout=FLAX_CONV),
        row("patch_encoder/class_token", way(f"{_EMBEDDING}/vars/0")),
        row("patch_encoder/position_embedding", way(f"{_EMBEDDING}/position_embedding/vars/0", layout=TABLE)),
        *_layer(f"{_B}/attention_norm", f"{_BLOCK}/layer_norm_1"),
        *_layer(f"{_B}/attention/qkv", *_QKV, layout=HEADS_OUT, bias_layout=HEADS_BIAS),
        *_layer(f"{_B}/attention/output", f"{_BLOCK}/mha/output_dense", layout=HEADS_IN),
        *_layer(f"{_B}/mlp_norm", f"{_BLOCK}/layer_norm_2"),
        *_layer(f"{_B}/mlp/expand", f"{_BLOCK}/mlp/dense_1"),
        *_layer(f"{_B}/mlp/contract", f"{_BLOCK}/mlp/dense_2"),
        *_layer("final_norm", f"{_ENCODER}/layer_norm"),
        *_layer("pre_logits", "pre_logits"),
        *_layer("head", "predictions"),
    ),
    head_features=((r"layers/vi_t_encoder/layer_norm/vars/0", {"pooling": "token", "final_norm": "before"}),),
    convention={**HALF, "norm_epsilon": 1e-6, "activation": "gelu"},
    certain=NO_ROTARY,
)
