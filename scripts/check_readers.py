"""Checks that models of directories of timm and transformers have the same outputs as in their own library.

    python scripts/check_readers.py

Needs timm, torchvision, transformers and torch. Each library saves a small model with random weights with `save_pretrained` or
`save_for_hf`; `from_preset` loads it, and the outputs are compared as in `vit-keras verify DIRECTORY`. Exits with 1 where any differ.
"""

import sys
import tempfile
from pathlib import Path

import timm  # torch must be imported before TensorFlow
import torch
import transformers
from timm.models._hub import save_for_hf

import vit_keras as vk
from vit_keras.weights.peers import compute_reference
from vit_keras.weights.verify import compare

TIMM = (
    ("vit_tiny_patch16_224", {}),
    ("vit_tiny_patch16_224", {"global_pool": "avg"}),
    ("vit_small_patch14_dinov2", {"act_layer": "quick_gelu"}),
    ("vit_small_patch14_reg4_dinov2", {}),
    ("deit_tiny_distilled_patch16_224", {}),
    ("eva02_tiny_patch14_224", {}),
    ("vit_base_patch16_siglip_224", {"embed_dim": 192, "num_heads": 3}),
    ("vit_base_patch16_clip_224", {"embed_dim": 192, "num_heads": 3}),
    ("vit_small_patch16_dinov3", {}),
    ("vit_betwixt_patch16_reg4_gap_256", {}),
    ("vit_small_patch16_rope_224", {}),
    ("vit_small_patch16_rope_mixed_ape_224", {}),
    ("vit_medium_patch16_rope_reg1_gap_256", {}),
    ("vit_pwee_patch16_reg1_gap_256", {}),
    ("test_vit3", {}),
    ("vit_so150m_patch16_reg4_map_256", {"embed_dim": 192, "num_heads": 3}),
    ("vit_so400m_patch14_siglip_384", {"embed_dim": 192, "num_heads": 3, "img_size": 60}),
    ("vit_intern300m_patch14_448", {"embed_dim": 192, "num_heads": 3}),
    ("vit_pe_core_tiny_patch16_384", {}),
    ("vit_pe_core_gigantic_patch14_448", {"embed_dim": 192, "num_heads": 3}),
    ("vit_pe_lang_large_patch14_448", {"embed_dim": 192, "num_heads": 3}),
    ("vit_pe_spatial_tiny_patch16_512", {}),
)
SIZES = {
    "hidden_size": 192, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 768, "image_size": 64, "patch_size": 16,
}  # fmt: skip
DINOV2 = {name: value for name, value in SIZES.items() if name != "intermediate_size"}
TRANSFORMERS = {
    "ViTForImageClassification": transformers.ViTConfig(**SIZES, num_labels=7),
    "ViTModel": transformers.ViTConfig(**SIZES),
    "ViTMSNForImageClassification": transformers.ViTMSNConfig(**SIZES, num_labels=7),
    "DeiTForImageClassification": transformers.DeiTConfig(**SIZES, num_labels=7),
    "DeiTForImageClassificationWithTeacher": transformers.DeiTConfig(**SIZES, num_labels=7),
    "Dinov2ForImageClassification": transformers.Dinov2Config(**DINOV2, num_labels=7),
    "Dinov2WithRegistersForImageClassification": transformers.Dinov2WithRegistersConfig(**DINOV2, num_labels=7),
    "DINOv3ViTModel": transformers.DINOv3ViTConfig(**SIZES),
    "SiglipVisionModel": transformers.SiglipVisionConfig(**SIZES),
    "SiglipForImageClassification": transformers.SiglipConfig(vision_config=SIZES, num_labels=7),
    "CLIPVisionModel": transformers.CLIPVisionConfig(**SIZES),
    "CLIPVisionModelWithProjection": transformers.CLIPVisionConfig(**SIZES),
    "CLIPForImageClassification": transformers.CLIPConfig(vision_config=SIZES, num_labels=7),
    "IJepaModel": transformers.IJepaConfig(**SIZES),
    "IJepaForImageClassification": transformers.IJepaConfig(**SIZES, num_labels=7),
}


def randomize(model: torch.nn.Module) -> torch.nn.Module:
    """Gives each weight a random value; those of scales are near one."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            is_scale = weight.ndim == 1 and name.endswith(("weight", "gamma", "lambda1"))
            weight.copy_(0.06 * torch.randn(weight.shape, generator=generator) + is_scale)
    return model.eval()


def write_timm(folder: Path, architecture: str, arguments: dict[str, object]) -> None:
    """Writes a directory of timm."""
    size = 56 if "patch14" in architecture else 64
    arguments = {"img_size": size, "depth": 2, "num_classes": 7, **arguments}
    model = randomize(timm.create_model(architecture, **arguments))
    save_for_hf(model, str(folder), model_args=arguments, safe_serialization=True)


def write_transformers(folder: Path, architecture: str) -> None:
    """Writes a directory of transformers, with a processor whose mean and std are not defaults."""
    randomize(getattr(transformers, architecture)(TRANSFORMERS[architecture])).save_pretrained(folder)
    statistics = {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.25]}
    transformers.ViTImageProcessor(size={"height": 64, "width": 64}, **statistics).save_pretrained(folder)


def check(label: str, folder: Path) -> bool:
    """Prints the largest difference of a directory's outputs; returns whether all are within the tolerance."""
    model = vk.from_preset(folder)
    reference = compute_reference(folder, vk.model_config(model))
    differences = list(compare(model, reference))
    within = all(difference.within for difference in differences)
    print(
        f"{reference.made_by:22} {label:60} {differences[-1].largest:.1e}  {'equal' if within else 'DIFFERS'}",
        flush=True,
    )
    return within


if __name__ == "__main__":
    results = []
    with tempfile.TemporaryDirectory() as root:
        for number, (architecture, arguments) in enumerate(TIMM):
            write_timm(Path(root) / f"timm{number}", architecture, arguments)
            results.append(check(f"{architecture} {arguments or ''}", Path(root) / f"timm{number}"))
        for architecture in TRANSFORMERS:
            write_transformers(Path(root) / architecture, architecture)
            results.append(check(architecture, Path(root) / architecture))
    sys.exit(not all(results))
