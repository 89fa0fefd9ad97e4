"""Names of lucidrains' vit-pytorch, in its `ViT` class. Compared with its versions from 0.1 (2021) to 1.23 (2026), `vit_pytorch/vit.py`."""

from vit_keras.weights.mappings.layouts import LINEAR, TABLE
from vit_keras.weights.mappings.tables import NO_ROTARY, Table, affine, dense, never, row, way

_B, _ATTENTION, _MLP = "block_{i}", "transformer.layers.{i}.0", "transformer.layers.{i}.1"

LUCIDRAINS = Table(
    source="lucidrains",
    title="ViT of lucidrains' vit-pytorch",
    signs=(r"to_patch_embedding\.[12]\.weight", r"transformer\.layers\.\d+\.0\.(?:fn\.)*to_qkv\.weight"),
    # Before version 1, norms and layers had wrappers, and the final norm was in the head.
    renames=(
        (r"^(transformer\.layers\.\d+)\.1\.(?:fn\.)+net\.0\.", r"\1.1.net.1."),
        (r"^(transformer\.layers\.\d+)\.1\.(?:fn\.)+net\.3\.", r"\1.1.net.4."),
        (r"^(transformer\.layers\.\d+)\.1\.(?:fn\.)?norm\.", r"\1.1.net.0."),
        (r"^(transformer\.layers\.\d+\.0)\.(?:fn\.)+", r"\1."),
        (r"^mlp_head\.0\.", "transformer.norm."),
        (r"^mlp_head\.1\.", "mlp_head."),
    ),
    rows=(
        *dense("patch_encoder/projection", "to_patch_embedding.1"),
        row("patch_encoder/class_token", way("cls_token"), way("cls_token", layout=TABLE, when=never)),
        row("patch_encoder/position_embedding", way("pos_embedding")),
        *affine(f"{_B}/attention_norm", f"{_ATTENTION}.norm"),
        row(f"{_B}/attention/qkv/kernel", way(f"{_ATTENTION}.to_qkv.weight", layout=LINEAR)),
        *dense(f"{_B}/attention/output", f"{_ATTENTION}.to_out.0"),
        *affine(f"{_B}/mlp_norm", f"{_MLP}.net.0"),
        *dense(f"{_B}/mlp/expand", f"{_MLP}.net.1"),
        *dense(f"{_B}/mlp/contract", f"{_MLP}.net.4"),
        *affine("final_norm", "transformer.norm"),
        *dense("head", "mlp_head"),
    ),
    refused=(
        (r"to_patch_embedding\.[23]\..*", "since version 1, patches are normalized before and after their projection"),
    ),
    head_features=((r"transformer\.norm\.weight", {"pooling": "token", "final_norm": "before"}),),
    convention={"norm_epsilon": 1e-5, "activation": "gelu"},
    certain=NO_ROTARY,
)
