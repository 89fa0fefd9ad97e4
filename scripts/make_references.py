"""Makes the reference files of `tests/golden/timm`: small random models, made and run by timm's own code.

    pip install timm torch torchvision
    python scripts/make_references.py OUT [NAME...]

Each file holds `weights/<timm's name>`, `pixels` (batch, height, width, channels; 0..255), `block/00` and on, `features`
and `logits`, and in its metadata the library, the architecture, what was changed from it and our config of it.
"""

import json
import sys
from pathlib import Path

import timm
import torch
from safetensors.torch import save_file

from vit_keras import load_preset

SMALL = {"depth": 2, "embed_dim": 48, "num_heads": 3, "num_classes": 7}
# name -> timm's architecture, what is changed besides the size, and the same changes in our words
CASES: dict[str, tuple[str, dict[str, object], dict[str, object]]] = {
    "clip": ("vit_base_patch16_clip_224.openai", {"img_size": 64}, {}),
    "clip_quickgelu": ("vit_base_patch16_clip_quickgelu_224", {"img_size": 64}, {}),
    "deit3": ("deit3_small_patch16_224", {"img_size": 64}, {}),
    "deit_distilled": ("deit_tiny_distilled_patch16_224", {"img_size": 64}, {}),
    "dinov2": ("vit_small_patch14_dinov2", {"img_size": 70}, {}),
    "dinov2_reg4": ("vit_small_patch14_reg4_dinov2", {"img_size": 70}, {}),
    "dinov2_swiglu": ("vit_giant_patch14_dinov2", {"img_size": 70}, {}),
    "dinov3": ("vit_small_patch16_dinov3", {"img_size": 64}, {"pooling": "mean"}),
    "eva02": ("eva02_tiny_patch14_224", {"img_size": 56}, {}),
    "flexivit": ("flexivit_small", {"img_size": 64}, {}),
    "mae_gap": (
        "vit_base_patch16_224.mae",
        {"img_size": 64, "global_pool": "avg"},
        {"pooling": "mean", "final_norm": "after"},
    ),
    "pwee_parallel": ("vit_pwee_patch16_reg1_gap_256", {"img_size": 64}, {}),
    "qk_norm": ("vit_tiny_patch16_224", {"img_size": 64, "qk_norm": True}, {"qk_norm": True}),
    "reg1_gap": ("vit_little_patch16_reg1_gap_256", {"img_size": 64}, {}),
    "reg4_rope_gap": ("vit_betwixt_patch16_rope_reg4_gap_256", {"img_size": 64}, {}),
    "rope_mixed_ape": ("vit_small_patch16_rope_mixed_ape_224", {"img_size": 64}, {}),
    "siglip": ("vit_base_patch16_siglip_224", {"img_size": 64}, {}),
    "siglip2": ("vit_base_patch16_siglip_224.v2_webli", {"img_size": 64}, {}),
    "test_vit": ("test_vit", {"img_size": 64}, {}),
    "vit": ("vit_tiny_patch16_224", {"img_size": [48, 80], "patch_size": 16}, {}),
    "vit_patch8": ("vit_small_patch8_224", {"img_size": 32}, {}),
}


def make(name: str, folder: Path) -> Path:
    """Writes one reference.

    Args:
        name: One of `CASES`.
        folder: Where to.
    """
    torch.manual_seed(0)
    architecture, changes, ours = CASES[name]
    arguments = {"num_classes": 7, **changes} if name == "test_vit" else {**SMALL, **changes}
    model = timm.create_model(architecture, pretrained=False, **arguments).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # away from zeros and ones, so that leaving one out shows
            parameter.add_(0.1 * torch.randn_like(parameter))
    data = timm.data.resolve_data_config({}, model=model)
    mean, std = (torch.tensor(data[key]) for key in ("mean", "std"))
    height, width = changes["img_size"] if isinstance(changes["img_size"], list) else (changes["img_size"],) * 2
    pixels = torch.randint(0, 256, (2, height, width, 3), dtype=torch.uint8)
    images = ((pixels.float() / 255 - mean) / std).permute(0, 3, 1, 2)
    tensors: dict[str, torch.Tensor] = {}
    for index, block in enumerate(model.blocks):
        block.register_forward_hook(
            lambda _, __, output, index=index: tensors.update({f"block/{index:02d}": output.clone()})
        )
    with torch.no_grad():
        features = model.forward_features(images)
        tensors |= {"features": features, "logits": model.forward_head(features), "pixels": pixels}
    tensors |= {f"weights/{key}": value.clone() for key, value in model.state_dict().items()}
    contract = next(
        value for key, value in tensors.items() if key.endswith(("0.mlp.fc2.weight", "0.mlp_out_proj.weight"))
    )
    config = load_preset(architecture.split(".")[0]).config.replace(
        image_size=(height, width),
        hidden_dim=model.embed_dim,
        num_layers=len(model.blocks),
        num_heads=arguments.get("num_heads", 2),
        mlp_dim=contract.shape[1],
        pixel_mean=tuple(data["mean"]),
        pixel_std=tuple(data["std"]),
        **ours,
    )
    metadata = {
        "made_by": f"timm {timm.__version__}",
        "architecture": architecture,
        "changes": json.dumps(arguments),
        "mean": json.dumps(list(data["mean"])),
        "std": json.dumps(list(data["std"])),
        "config": json.dumps(config.to_dict()),
    }
    path = folder / f"{name}.safetensors"
    save_file({key: value.contiguous() for key, value in tensors.items()}, path, metadata)
    return path


if __name__ == "__main__":
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    for case in sys.argv[2:] or CASES:
        print(make(case, out))
