"""Makes `tests/golden/naflex`: small random NaFlex models of transformers and timm, with their outputs for images of several shapes.

    pip install torch torchvision timm==1.0.31 transformers==5.23.0 safetensors
    python scripts/make_naflex_references.py OUT

Each file has the library's tensors as `weights/...`; `image/0` and so on, pixels 0..255, whose sides are multiples of the patch size;
`tokens`, the output of the last block, and `output`, of all images in one padded batch. Seeds are fixed.
"""

import sys
from pathlib import Path

import numpy as np
import timm
import torch
import transformers
from safetensors.numpy import save_file
from timm.models.naflexvit import batch_patchify
from transformers.models.siglip2.image_processing_siglip2 import convert_image_to_patches, pad_along_first_dim

PATCH, GRID, MOST = 4, 4, 18
GRIDS = ((3, 5), (6, 2), (4, 4), (1, 7), (9, 2))  # rows and columns; the last fills the batch
IMAGES = [
    np.random.default_rng(index).integers(0, 256, (rows * PATCH, columns * PATCH, 3)).astype("uint8")
    for index, (rows, columns) in enumerate(GRIDS)
]


def normalize(image: np.ndarray) -> torch.Tensor:
    """Returns an image as `(channels, height, width)`, from -1 to 1."""
    return torch.from_numpy((image.astype("float32") / 255 - 0.5) / 0.5).permute(2, 0, 1)


def randomize(model: torch.nn.Module) -> torch.nn.Module:
    """Gives every parameter random values."""
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        torch.nn.init.normal_(parameter, mean=float("norm" in name and name.endswith("weight")), std=0.2)
    return model.eval()


def run(model: torch.nn.Module, last_block: torch.nn.Module, *args, **kwargs):
    """Returns the output of the last block, and of the model."""
    seen = []
    last_block.register_forward_hook(
        lambda _, __, output: seen.append(output[0] if isinstance(output, tuple) else output)
    )
    with torch.no_grad():
        output = model(*args, **kwargs)
    return seen[0].numpy(), output


def save(path: Path, model: torch.nn.Module, tokens: np.ndarray, output: torch.Tensor, made_by: str) -> None:
    """Writes a reference."""
    weights = {f"weights/{name}": np.ascontiguousarray(tensor.numpy()) for name, tensor in model.state_dict().items()}
    images = {f"image/{index}": image for index, image in enumerate(IMAGES)}
    save_file(weights | images | {"tokens": tokens, "output": output.numpy()}, path, {"made_by": made_by})


def make_siglip2(out: Path) -> None:
    """Writes transformers' model."""
    config = transformers.Siglip2VisionConfig(
        hidden_size=24,
        intermediate_size=40,
        num_hidden_layers=2,
        num_attention_heads=2,
        patch_size=PATCH,
        num_patches=GRID**2,
    )
    model = randomize(transformers.Siglip2VisionModel(config))
    padded = [pad_along_first_dim(convert_image_to_patches(normalize(image), PATCH), MOST) for image in IMAGES]
    tokens, output = run(
        model, model.encoder.layers[-1], pixel_values=torch.stack([patches for patches, _ in padded]),
        pixel_attention_mask=torch.stack([mask for _, mask in padded]), spatial_shapes=torch.tensor(GRIDS),
    )  # fmt: skip
    save(out / "siglip2.safetensors", model, tokens, output.pooler_output, f"transformers {transformers.__version__}")


def make_timm(out: Path, name: str, architecture: str, **changes: object) -> None:
    """Writes one of timm's models."""
    model = timm.create_model(
        architecture, patch_size=PATCH, embed_dim=24, depth=2, num_heads=2, mlp_ratio=2.0, pos_embed_grid_size=(GRID, GRID),
        num_classes=5, **changes,
    )  # fmt: skip
    randomize(model)
    patches = torch.zeros(len(IMAGES), MOST, PATCH * PATCH * 3)
    coordinates, valid = (
        torch.zeros(len(IMAGES), MOST, 2, dtype=torch.long),
        torch.zeros(len(IMAGES), MOST, dtype=torch.bool),
    )
    for index, (image, (rows, columns)) in enumerate(zip(IMAGES, GRIDS, strict=True)):
        count = rows * columns
        patches[index, :count] = batch_patchify(normalize(image)[None], (PATCH, PATCH))[0][0]
        coordinates[index, :count] = torch.cartesian_prod(torch.arange(rows), torch.arange(columns))
        valid[index, :count] = True
    tokens, output = run(model, model.blocks[-1], patches, patch_coord=coordinates, patch_valid=valid)
    save(out / f"{name}.safetensors", model, tokens, output, f"timm {timm.__version__}")


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    make_siglip2(folder)
    make_timm(folder, "timm_gap", "naflexvit_base_patch16_gap")
    make_timm(folder, "timm_map", "naflexvit_base_patch16_map")
    make_timm(folder, "timm_siglip", "naflexvit_base_patch16_siglip")
    make_timm(folder, "timm_token", "naflexvit_base_patch16_gap", class_token=True, global_pool="token", fc_norm=False)
    make_timm(folder, "timm_par", "naflexvit_base_patch16_par_gap")
    make_timm(folder, "timm_radio", "naflexvit_base_patch16_radio_v3")
