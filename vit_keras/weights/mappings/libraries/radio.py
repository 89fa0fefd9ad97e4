"""Names of RADIO in the files of NVIDIA and transformers. timm's files of it have timm's names.

Compared with transformers 5.23, `models/radio` and `conversion_mapping.py`, and `_convert_radio` of timm 1.0.31.
"""

from vit_keras.weights.mappings.config_fields import CLIP
from vit_keras.weights.mappings.layouts import CHANNELS_FIRST, TABLE
from vit_keras.weights.mappings.tables import NO_ROTARY, Table, affine, always, dense, never, row, way

_B, _BLOCK = "block_{i}", "blocks.{i}"
_TOKENS = "patch_generator.cls_token.token"

HF_RADIO = Table(
    source="huggingface",
    title="the RADIO of NVIDIA or transformers",
    signs=(
        r"(?:patch_generator\.embedder|embeddings\.patch_projection)\.weight",
        r"(?:blocks|encoder\.layer)\.\d+\.norm1\.weight",
    ),
    # transformers' names in memory, to those in files.
    renames=(
        (r"^embeddings\.patch_projection\.", "patch_generator.embedder."),
        (r"^embeddings\.video_patch_projection\.", "patch_generator.video_embedder."),
        (r"^embeddings\.position_embedding$", "patch_generator.pos_embed"),
        (r"^embeddings\.cls_register_token$", _TOKENS),
        (r"^encoder\.layer\.(\d+)\.", r"blocks.\1."),
        (r"^(blocks\.\d+)\.attention\.o_proj\.", r"\1.attn.proj."),
        (r"^(blocks\.\d+)\.attention\.", r"\1.attn."),
        (r"\.grandma$", ".gamma"),  # NVIDIA's spelling
    ),
    rows=(
        row("patch_encoder/projection/kernel", way("patch_generator.embedder.weight", layout=CHANNELS_FIRST)),
        row("patch_encoder/projection/bias", way()),
        # The first summary token is the class token; those of further teachers are registers, as in timm.
        row(("patch_encoder/class_token", "patch_encoder/registers"), way(_TOKENS, layout=TABLE), axis=1),
        row("patch_encoder/class_token", way(_TOKENS, layout=TABLE)),
        row("patch_encoder/position_embedding", way("patch_generator.pos_embed")),
        *affine(f"{_B}/attention_norm", f"{_BLOCK}.norm1"),
        *affine(f"{_B}/mlp_norm", f"{_BLOCK}.norm2"),
        *dense(
            f"{_B}/attention/qkv", f"{_BLOCK}.attn.qkv", tuple(f"{_BLOCK}.attn.{name}_proj" for name in "qkv"),
            whens=(always, never),
        ),
        *dense(f"{_B}/attention/output", f"{_BLOCK}.attn.proj"),
        *(
            row(f"{_B}/{name}_scale/gamma", way(f"{_BLOCK}.ls{number}.gamma"), way(f"{_BLOCK}.layer_scale{number}.lambda1", when=never))
            for number, name in ((1, "attention"), (2, "mlp"))
        ),
        *dense(f"{_B}/mlp/expand", f"{_BLOCK}.mlp.fc1"),
        *dense(f"{_B}/mlp/contract", f"{_BLOCK}.mlp.fc2"),
    ),
    ignored=(
        (r"patch_generator\.video_embedder\..*", "for videos"),
        (r"input_conditioner\..*|summary_idxs", "a setting"),
    ),
    head_features=((r"patch_generator\.cls_token\.token", {"pooling": "token"}),),
    convention={**CLIP, "norm_epsilon": 1e-6, "activation": "gelu"},
    certain=NO_ROTARY,
)  # fmt: skip
