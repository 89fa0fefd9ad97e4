"""Names of transformers' modules in memory, from the names in its files: adapters of PEFT have the former.

Compared with the `modeling_*.py` of each model in transformers 5.24.
"""

import re

from vit_keras.weights.mappings.libraries.huggingface import HF_CLIP, HF_DINOV2, HF_DINOV3, HF_SIGLIP, HF_VIT
from vit_keras.weights.writers.huggingface_config import HuggingFaceModel

_ATTENTION = tuple(
    (rf"^(encoder\.layer\.\d+\.attention)\.{old}\.", rf"\1.{new}.")
    for old, new in (
        (r"attention\.query", "q_proj"), (r"attention\.key", "k_proj"), (r"attention\.value", "v_proj"), (r"output\.dense", "o_proj"),
    )
)  # fmt: skip
_VERSION_5 = {
    HF_VIT.title: (
        *_ATTENTION,
        (r"^(encoder\.layer\.\d+)\.intermediate\.dense\.", r"\1.mlp.fc1."),
        (r"^(encoder\.layer\.\d+)\.output\.dense\.", r"\1.mlp.fc2."),
        (r"^encoder\.layer\.", "layers."),
    ),
    HF_DINOV2.title: (*_ATTENTION, (r"^(encoder\.layer\.\d+\.mlp)\.weights_out\.", r"\1.down_proj.")),
    HF_DINOV3.title: ((r"^layer\.", "model.layer."),),
    HF_CLIP.title: (),
    HF_SIGLIP.title: (),
}  # by the table's title
_ONLY_IN_FILES = ".mlp.weights_in."  # in memory, version 5 has gate and up projections


def exists_in_memory(name: str, *, version: int) -> bool:
    """Whether transformers of this major version has a tensor of this name in memory, rather than only in files."""
    return version < 5 or _ONLY_IN_FILES not in name


def name_in_memory(model: HuggingFaceModel, name: str, *, version: int) -> str:
    """Returns the name that a tensor has in memory, in transformers of this major version."""
    if version < 5:
        return model.full_name(name)
    full = model.full_name(name)
    prefix = full.removesuffix(name)
    for pattern, replacement in _VERSION_5[model.table.title]:
        name = re.sub(pattern, replacement, name)
    has_outer_model = not model.config["architectures"][0].endswith("VisionModel")
    return (prefix if prefix != "vision_model." or has_outer_model else "") + name
