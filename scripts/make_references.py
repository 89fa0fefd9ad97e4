"""Makes the reference files of `tests/golden/timm`: small random models, built and run by timm.

    pip install timm==1.0.31 torch torchvision && pip install --no-deps --editable .
    KERAS_BACKEND=torch python scripts/make_references.py OUT [NAME...]

Each file of a model has `weights/<timm's name>`, `pixels` (batch, height, width, channels; 0..255), `block/00` etc., `features` and
`logits`; its metadata has the library, the architecture, the changes of it and our config. Google's two layouts are written as
`.npz`, with timm's outputs for them in a second file. `relative_positions.npz` has tables that timm resized. `checkpoints.csv` has what
timm says of the published weights of our presets, `lookalikes.csv` which of its architectures have the same tensors and compute something
else. Seeds are fixed:
with timm 1.0.31 and torch 2.14 pixels are the same bits, and weights and outputs differ only by the rounding of another processor.
"""

import csv
import json
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import timm
import torch
from safetensors.torch import save_file
from timm.layers import resize_rel_pos_bias_table

from vit_keras import list_presets, load_preset

SMALL = {"depth": 2, "embed_dim": 48, "num_heads": 3, "num_classes": 7}
NARROW = {"embed_dim": 24, "num_heads": 2, "patch_size": 8, "img_size": 32}
# name -> timm's architecture, its changes besides the size, and the same changes as our fields; the position is the seed
CASES: dict[str, tuple[str, dict[str, object], dict[str, object]]] = {
    "vit": ("vit_tiny_patch16_224", {"img_size": [48, 80], "patch_size": 16}, {}),
    "vit_patch8": ("vit_small_patch8_224", {"img_size": 32}, {}),
    "deit_distilled": ("deit_tiny_distilled_patch16_224", {"img_size": 64}, {}),
    "deit3": ("deit3_small_patch16_224", {"img_size": 64}, {}),
    "mae_gap": (
        "vit_base_patch16_224.mae",
        {"img_size": 64, "global_pool": "avg"},
        {"pooling": "mean", "final_norm": "after"},
    ),
    "dinov2": ("vit_small_patch14_dinov2", {"img_size": 70}, {}),
    "dinov2_reg4": ("vit_small_patch14_reg4_dinov2", {"img_size": 70}, {}),
    "dinov2_swiglu": ("vit_giant_patch14_dinov2", {"img_size": 70}, {}),
    "dinov3": ("vit_small_patch16_dinov3", {"img_size": 64}, {"pooling": "mean"}),
    "clip": ("vit_base_patch16_clip_224.openai", {"img_size": 64}, {}),
    "clip_quickgelu": ("vit_base_patch16_clip_quickgelu_224", {"img_size": 64}, {}),
    "siglip": ("vit_base_patch16_siglip_224", {"img_size": 64}, {}),
    "siglip2": ("vit_base_patch16_siglip_224.v2_webli", {"img_size": 64}, {}),
    "flexivit": ("flexivit_small", {"img_size": 64}, {}),
    "reg1_gap": ("vit_little_patch16_reg1_gap_256", {"img_size": 64}, {}),
    "pwee_parallel": ("vit_pwee_patch16_reg1_gap_256", {"img_size": 64}, {}),
    "reg4_rope_gap": ("vit_betwixt_patch16_rope_reg4_gap_256", {"img_size": 64}, {}),
    "rope_mixed_ape": ("vit_small_patch16_rope_mixed_ape_224", {"img_size": 64}, {}),
    "eva02": ("eva02_tiny_patch14_224", {"img_size": 56}, {}),
    "qk_norm": ("vit_tiny_patch16_224", {"img_size": 64, "qk_norm": True}, {"qk_norm": True}),
    "test_vit": ("test_vit", {"img_size": 64}, {}),
    "eva_large": ("eva_large_patch14_196", NARROW, {}),
    "eva_giant": ("eva_giant_patch14_224", NARROW, {}),
    "eva_giant_clip": ("eva_giant_patch14_clip_224", NARROW, {}),
    "siglip_gap": ("vit_so400m_patch14_siglip_gap_448", NARROW, {}),
    "tipsv2": ("vit_base_patch14_reg1_tipsv2", NARROW, {}),
    "tipsv2_swiglu": ("vit_giant_patch14_reg1_tipsv2", NARROW, {}),
    "lingbot": ("vit_small_patch16_lingbot", NARROW, {}),
    "lingbot_swiglu": ("vit_giant_patch16_lingbot", NARROW, {}),
    "miil": ("vit_base_patch16_224_miil", NARROW, {}),
    "tinyclip": ("vit_xsmall_patch16_clip_224", NARROW, {}),
    "ijepa": ("vit_giant_patch16_gap_224", NARROW, {}),
    "siglip_384": ("vit_so400m_patch14_siglip_384", {**NARROW, "img_size": [36, 36]}, {}),
    "so150m_map": ("vit_so150m_patch16_reg4_map_256", NARROW, {}),
    "intern300m": ("vit_intern300m_patch14_448", NARROW, {}),
    "pe_core": ("vit_pe_core_tiny_patch16_384", NARROW, {}),
    "pe_core_gigantic": ("vit_pe_core_gigantic_patch14_448", NARROW, {"map_mlp_dim": 96}),
    "pe_lang": ("vit_pe_lang_large_patch14_448", NARROW, {}),
    "pe_spatial": ("vit_pe_spatial_tiny_patch16_512", {**NARROW, "img_size": [32, 56]}, {}),
    "pe_spatial_gigantic": ("vit_pe_spatial_gigantic_patch14_448", NARROW, {}),
    "eva02_clip": ("eva02_base_patch16_clip_224", NARROW, {}),
    "beit3": ("beit3_base_patch16_224", NARROW, {}),
    "radio_v3": ("vit_base_patch16_radio_v3", NARROW, {}),
    "radio_v4": ("vit_so400m_patch16_radio_v4", NARROW, {}),
}
# The same with other blocks; seeds of their own, so that a new entry above changes none of these.
OTHER_BLOCKS: dict[str, tuple[str, dict[str, object], dict[str, object]]] = {
    "aimv2": ("aimv2_large_patch14_224", NARROW, {}),
    "beit": ("beit_base_patch16_224", {**NARROW, "img_size": [32, 48]}, {}),
    "beit_shared": (
        "beitv2_base_patch16_224",
        {**NARROW, "use_rel_pos_bias": False, "use_shared_rel_pos_bias": True, "global_pool": "token"},
        {"relative_position_shared": True, "pooling": "token", "final_norm": "before"},
    ),
    "rpn": ("vit_base_patch16_rpn_224", NARROW, {}),
    "relpos": ("vit_relpos_small_patch16_224", {**NARROW, "img_size": [48, 32]}, {}),
    "relpos_cls": ("vit_relpos_medium_patch16_cls_224", NARROW, {}),
    "relpos_rpn": ("vit_relpos_medium_patch16_rpn_224", NARROW, {}),
    "relpos_table": (
        "vit_relpos_base_patch16_clsgap_224",
        {**NARROW, "rel_pos_type": "bias"},
        {"relative_position": "table"},
    ),
    "srelpos": ("vit_srelpos_small_patch16_224", {**NARROW, "rel_pos_dim": 16}, {"relative_position_dim": 16}),
    "differential": ("vit_dlittle_patch16_reg1_gap_256", NARROW, {}),
    "eva_enormous_clip": ("eva02_enormous_patch14_clip_224", NARROW, {}),
    "dpwee_parallel": ("vit_dpwee_patch16_reg1_gap_256", NARROW, {}),
}
SEEDS = {name: index for index, name in enumerate(CASES)} | {
    name: 200 + index for index, name in enumerate(OTHER_BLOCKS)
}
TABLES = [((4, 4), (6, 6)), ((7, 7), (4, 4)), ((3, 5), (4, 9)), ((14, 14), (24, 24)), ((6, 2), (5, 7))]
"""Rows and columns of patches before and after a resize, different along both axes."""
# name -> names in that layout: second norm, attention and MLP of a block, and the positions
GOOGLES = {
    "google_augreg": (
        "LayerNorm_2",
        "MultiHeadDotProductAttention_1",
        "MlpBlock_3",
        "Transformer/posembed_input/pos_embedding",
    ),
    "google_big_vision": ("LayerNorm_1", "MultiHeadDotProductAttention_0", "MlpBlock_0", "pos_embedding"),
}


def make(name: str, folder: Path) -> Path:
    """Writes one reference.

    Args:
        name: One of `CASES` or `OTHER_BLOCKS`.
        folder: Output folder.
    """
    seed = SEEDS[name]
    architecture, changes, ours = (CASES | OTHER_BLOCKS)[name]
    arguments = {**changes, "num_classes": 7} if name == "test_vit" else {**SMALL, **changes}
    torch.manual_seed(100 + seed)
    model = timm.create_model(architecture, pretrained=False, **arguments).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # not zeros and ones, so that a missing weight shows
            parameter.add_(0.05 * torch.randn_like(parameter))
    size = changes["img_size"]
    height, width = size if isinstance(size, list) else (size, size)
    pixels = random_pixels(np.random.default_rng(seed), height, width)
    preset = architecture.split(".")[0]
    published = timm.get_pretrained_cfg(preset)
    mean, std = torch.tensor(published.mean), torch.tensor(published.std)
    tensors = {"pixels": pixels, **run_model(model, ((pixels.float() / 255 - mean) / std).permute(0, 3, 1, 2))}
    tensors |= {f"weights/{key}": value for key, value in model.state_dict().items()}
    config = load_preset(preset).config.replace(
        image_size=(height, width),
        patch_size=model.patch_embed.patch_size[0],
        hidden_dim=model.embed_dim,
        num_layers=len(model.blocks),
        num_heads=arguments.get("num_heads", 2),
        mlp_dim=mlp_dim(model),
        pixel_mean=tuple(mean.tolist()),
        pixel_std=tuple(std.tolist()),
        **ours,
    )
    metadata = {
        "made_by": f"timm {timm.__version__}",
        "architecture": architecture,
        "changes": json.dumps(arguments),
        "mean": json.dumps(mean.tolist()),
        "std": json.dumps(std.tolist()),
        "config": json.dumps(config.to_dict()),
    }
    return write(tensors, folder / f"{name}.safetensors", metadata)


def mlp_dim(model: torch.nn.Module) -> int:
    """Returns the hidden width of a model's MLPs."""
    block = model.blocks[0]
    if hasattr(block, "mlp"):
        return block.mlp.fc2.in_features
    if getattr(block, "mlp_out_proj", None) is not None:
        return block.mlp_out_proj.in_features
    return block.out_proj.in_features - model.embed_dim


def make_google(name: str, folder: Path) -> Path:
    """Writes random weights in one of Google's layouts, and timm's outputs for them.

    Args:
        name: One of `GOOGLES`.
        folder: Output folder.
    """
    rng = np.random.default_rng(500 + list(GOOGLES).index(name))
    weights = {
        key: (0.1 * rng.normal(size=shape)).astype("float32") + (1 if key.endswith("/scale") else 0)
        for key, shape in google_shapes(*GOOGLES[name]).items()
    }
    np.savez(folder / f"{name}.npz", **weights)
    model = timm.create_model("vit_tiny_patch16_224", pretrained=False, img_size=64, **SMALL).eval()
    model.load_pretrained(str(folder / f"{name}.npz"))
    pixels = random_pixels(rng, 64, 64)
    outputs = run_model(model, ((pixels.float() / 255 - 0.5) / 0.5).permute(0, 3, 1, 2))
    del outputs["features"]
    metadata = {"reader": f"timm {timm.__version__}"}
    return write({"pixels": pixels, **outputs}, folder / f"{name}.reference.safetensors", metadata)


def google_shapes(second_norm: str, attention: str, mlp: str, positions: str) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of a Vision Transformer of the size `SMALL`, by Google's names, with these names of its parts."""
    dim, heads, inside = 48, 3, 192
    block: dict[str, tuple[int, ...]] = {}
    for norm in ("LayerNorm_0", second_norm):
        block |= {f"{norm}/scale": (dim,), f"{norm}/bias": (dim,)}
    for part in ("query", "key", "value"):
        block |= {
            f"{attention}/{part}/kernel": (dim, heads, dim // heads),
            f"{attention}/{part}/bias": (heads, dim // heads),
        }
    block |= {f"{attention}/out/kernel": (heads, dim // heads, dim), f"{attention}/out/bias": (dim,)}
    block |= {f"{mlp}/Dense_0/kernel": (dim, inside), f"{mlp}/Dense_0/bias": (inside,)}
    block |= {f"{mlp}/Dense_1/kernel": (inside, dim), f"{mlp}/Dense_1/bias": (dim,)}
    return {
        "cls": (1, 1, dim),
        "embedding/kernel": (16, 16, 3, dim),
        "embedding/bias": (dim,),
        "head/kernel": (dim, 7),
        "head/bias": (7,),
        "Transformer/encoder_norm/scale": (dim,),
        "Transformer/encoder_norm/bias": (dim,),
        positions: (1, 17, dim),
        **{f"Transformer/encoderblock_{index}/{key}": shape for index in range(2) for key, shape in block.items()},
    }


def make_relative_positions(name: str, folder: Path) -> Path:
    """Writes tables of relative position biases, and the same tables as timm resizes them.

    Args:
        name: Name of the file.
        folder: Output folder.
    """
    rng = np.random.default_rng(700)
    arrays = {}
    for before, after in TABLES:
        rows = (2 * before[0] - 1) * (2 * before[1] - 1) + 3
        shape = ((2 * after[0] - 1) * (2 * after[1] - 1) + 3, 2)
        table = rng.normal(size=(rows, 2)).astype("float32")
        resized = resize_rel_pos_bias_table(torch.from_numpy(table), after, shape, before)
        case = f"{before[0]}x{before[1]} to {after[0]}x{after[1]}"
        arrays |= {f"{case} table": table, f"{case} resized": resized.numpy()}
    path = folder / f"{name}.npz"
    np.savez_compressed(path, **arrays)
    return path


def write_checkpoints(folder: Path) -> Path:
    """Writes `checkpoints.csv`: per published checkpoint of our presets, timm's number of parameters (head included) and its config.

    Args:
        folder: Output folder.
    """
    columns = [
        "name",
        "params",
        "image_size",
        "num_classes",
        "mean",
        "std",
        "crop",
        "crop_mode",
        "interpolation",
        "license",
    ]
    rows = []
    for name in (f"{preset}.{tag}" for preset in list_presets() for tag in load_preset(preset).weights):
        if not timm.is_model_pretrained(name):
            continue  # timm has neither our reading of FlexiViT's files nor Simple ViT
        config = timm.get_pretrained_cfg(name)
        with torch.device("meta"):
            params = sum(parameter.numel() for parameter in timm.create_model(name).parameters())
        sizes = ("x".join(map(str, config.input_size[1:])), config.num_classes)
        pixels = (" ".join(map(str, values)) for values in (config.mean, config.std))
        rows.append(
            (
                name,
                params,
                *sizes,
                *pixels,
                config.crop_pct,
                config.crop_mode or "center",
                config.interpolation,
                config.license,
            )
        )
    path = folder / "checkpoints.csv"
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([columns, *rows])
    return path


def write_lookalikes(folder: Path) -> Path:
    """Writes `lookalikes.csv`: which of timm's Vision Transformers have the same tensors, and which of those compute the same.

    Each architecture is built small. `tensors` stands for the names and shapes of its tensors, `computation` for its outputs, given the
    same images and, to all with the same tensors, the same weights. `num_heads` is that of the architecture itself.

    Args:
        folder: Output folder.
    """
    small = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2, "num_classes": 7}
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    modules = ("vision_transformer", "vision_transformer_relpos", "deit", "beit", "eva")
    groups: dict[tuple, list[torch.Tensor]] = {}
    rows = []
    for name in sorted(name for module in modules for name in timm.list_models(module=module)):
        try:
            with torch.device("meta"):
                block = timm.create_model(name, depth=1).blocks[0]
            model = timm.create_model(name, **small).eval()
        except (
            TypeError,
            AssertionError,
            AttributeError,
            RuntimeError,
        ) as error:  # without blocks, or without these arguments
            print(name, error)
            continue
        generator = torch.Generator().manual_seed(1)
        weights = dict(sorted(model.named_parameters()))
        with torch.no_grad():
            for weight in weights.values():
                weight.copy_(0.3 * torch.randn(weight.shape, generator=generator))
            output = model(images)
        signature = tuple((key, tuple(weight.shape)) for key, weight in weights.items())
        seen = groups.setdefault(signature, [])
        same = [index for index, other in enumerate(seen) if torch.allclose(other, output, rtol=1e-4, atol=1e-4)]
        if not same:
            seen.append(output)
        heads = getattr(getattr(block, "attn", block), "num_heads", None)
        rows.append((name, list(groups).index(signature), same[0] if same else len(seen) - 1, heads))
    path = folder / "lookalikes.csv"
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([("name", "tensors", "computation", "num_heads"), *rows])
    return path


def random_pixels(rng: np.random.Generator, height: int, width: int) -> torch.Tensor:
    """Returns two images of noise, `(2, height, width, 3)`, 0..255."""
    return torch.from_numpy(rng.integers(0, 256, (2, height, width, 3)).astype("uint8"))


def run_model(model: torch.nn.Module, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """Returns each block's output, `features` and `logits`, for normalized images `(batch, channels, height, width)`."""
    outputs: dict[str, torch.Tensor] = {}
    for index, block in enumerate(model.blocks):
        block.register_forward_hook(
            lambda _, __, output, index=index: outputs.update({f"block/{index:02d}": output.clone()})
        )
    with torch.no_grad():
        features = model.forward_features(images)
        return outputs | {"features": features, "logits": model.forward_head(features)}


def write(tensors: Mapping[str, torch.Tensor], path: Path, metadata: dict[str, str]) -> Path:
    """Writes tensors as a safetensors file, and returns its path."""
    save_file({key: value.clone().contiguous() for key, value in tensors.items()}, path, metadata)
    return path


if __name__ == "__main__":
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    makers = {**dict.fromkeys(SEEDS, make), **dict.fromkeys(GOOGLES, make_google)}
    makers["relative_positions"] = make_relative_positions
    tables = {"checkpoints": write_checkpoints, "lookalikes": write_lookalikes}
    for case in sys.argv[2:] or (*makers, *tables):
        print(tables[case](out) if case in tables else makers[case](case, out))
