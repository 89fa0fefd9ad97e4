"""Computes reference outputs with the library that wrote a directory: transformers or timm."""

import math
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from vit_keras.config import ViTConfig
from vit_keras.errors import InvalidArgumentError
from vit_keras.packed_sizes import NUM_INDICES, PADDING
from vit_keras.packing import pack_image, packed_grid
from vit_keras.weights.settings.read import CONFIG, library_of, read_json, read_processor
from vit_keras.weights.verify import Reference

_PACKAGES = {"huggingface": ("transformers", "torch"), "timm": ("timm", "torch")}


def compute_reference(directory: str | Path, config: ViTConfig) -> Reference:
    """Returns what transformers or timm computes for random pixels, with its own model and normalization."""
    folder = Path(directory)
    config_json = read_json(folder / CONFIG)
    library = library_of(config_json) if isinstance(config_json, dict) else None
    if library not in _PACKAGES:
        raise InvalidArgumentError(
            f"{folder}: neither transformers nor timm wrote this directory; nothing to compare with."
        )
    names = _PACKAGES[library]
    try:
        torch, peer = (import_module(name) for name in reversed(names))  # torch first
    except ImportError as error:
        raise InvalidArgumentError(
            f"{folder}: comparing needs {names[0]}: pip install {' '.join(names)} ({error})."
        ) from error
    pixels = _random_pixels(config)
    run = _run_transformers if library == "huggingface" else _run_timm
    blocks, output = run(peer, torch, folder, pixels, config)
    return Reference(
        made_by=f"{names[0]} {peer.__version__}",
        config=config,
        weights={},
        pixels=pixels.astype("float32"),
        blocks=tuple(blocks),
        logits=output,
    )


def _random_pixels(config: ViTConfig) -> np.ndarray:
    """Returns two random images; packed ones have two aspect ratios and no padding, whose tokens mean nothing."""
    rng, size, count = np.random.default_rng(0), config.patch_size, config.max_num_patches
    if count is None:
        return rng.integers(0, 256, (2, *config.image_shape)).astype("uint8")
    rows = next(rows for rows in range(math.isqrt(count), 0, -1) if count % rows == 0)
    shapes = [(side * size, count // side * size, config.channels) for side in (rows, count // rows)]
    images = [rng.integers(0, 256, shape).astype("uint8") for shape in shapes]
    return np.stack([pack_image(image, patch_size=size, max_num_patches=count) for image in images])


def _run_transformers(
    transformers: Any, torch: Any, folder: Path, pixels: np.ndarray, config: ViTConfig
) -> tuple[list[np.ndarray], np.ndarray]:
    architecture = transformers.AutoConfig.from_pretrained(folder).architectures[0]
    model = getattr(transformers, architecture).from_pretrained(folder).eval()
    if config.max_num_patches is not None:
        blocks, output = _run_with_hooks(torch, model, config.num_layers, **_to_siglip2(torch, pixels, config))
        return blocks, _select_output(output, config)
    if read_processor(folder / CONFIG) is not None:
        processor = transformers.AutoImageProcessor.from_pretrained(folder)
        options = {"do_resize": False, "do_center_crop": False, "input_data_format": "channels_last"}
        inputs = processor(images=list(pixels), return_tensors="pt", **options)["pixel_values"]
    else:
        inputs = _normalize(torch, pixels, config.pixel_mean, config.pixel_std)
    text = {"input_ids": torch.zeros((1, 1), dtype=torch.long)} if hasattr(model, "text_model") else {}
    blocks, output = _run_with_hooks(torch, model, config.num_layers, pixel_values=inputs, **text)
    return blocks, _select_output(output, config)


def _select_output(output: Any, config: ViTConfig) -> np.ndarray:
    """Returns the output of transformers' model that is ours."""
    if "logits" in output and output["logits"].ndim == 2:
        return _to_numpy(output["logits"])
    if "image_embeds" in output:
        return _to_numpy(output["image_embeds"])
    is_pooled_first = (config.pooling, config.final_norm) == ("mean", "after")  # BEiT normalizes only the mean
    if config.pooling == "map" or config.stem_norm or is_pooled_first:  # and CLIP only the pooled token
        return _to_numpy(output["pooler_output"])
    tokens = output["last_hidden_state"]
    return _to_numpy(tokens[:, 0] if config.pooling == "token" else tokens[:, config.num_prefix_tokens :].mean(1))


def _run_timm(
    timm: Any, torch: Any, folder: Path, pixels: np.ndarray, config: ViTConfig
) -> tuple[list[np.ndarray], np.ndarray]:
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    prepared = timm.data.resolve_model_data_config(model)
    if config.max_num_patches is not None:
        packed = _to_siglip2(torch, pixels, config)
        indices = torch.from_numpy(pixels[:, :, :NUM_INDICES, 0].astype("int64"))
        valid = packed["pixel_attention_mask"].bool()
        blocks, output = _run_with_hooks(
            torch, model, config.num_layers, packed["pixel_values"], patch_coord=indices, patch_valid=valid
        )
        return blocks, _to_numpy(output)
    inputs = _normalize(torch, pixels, prepared["mean"], prepared["std"])
    blocks, output = _run_with_hooks(torch, model, config.num_layers, inputs)
    return blocks, _to_numpy(output)


def _to_siglip2(torch: Any, packed: np.ndarray, config: ViTConfig) -> dict[str, Any]:
    """Returns packed images as the arguments of transformers' SigLIP 2."""
    mean, std = (np.asarray(values, "float32") for values in (config.pixel_mean, config.pixel_std))
    values = (packed[:, :, NUM_INDICES:].astype("float32") / 255 - mean) / std
    return {
        "pixel_values": torch.from_numpy(values.reshape(*packed.shape[:2], -1)),
        "pixel_attention_mask": torch.from_numpy((packed[:, :, 0, 0] != PADDING).astype("int64")),
        "spatial_shapes": torch.tensor([packed_grid(image) for image in packed]),
    }


def _normalize(torch: Any, pixels: np.ndarray, mean: Sequence[float], std: Sequence[float]) -> Any:
    fractions = (pixels.astype("float32") / 255 - np.asarray(mean, "float32")) / np.asarray(std, "float32")
    return torch.from_numpy(np.ascontiguousarray(fractions.transpose(0, 3, 1, 2)))


def _run_with_hooks(torch: Any, model: Any, num_layers: int, *args: Any, **kwargs: Any) -> tuple[list[np.ndarray], Any]:
    blocks: list[np.ndarray] = []

    def record(_: Any, __: Any, output: Any) -> None:
        blocks.append(_to_numpy(output[0] if isinstance(output, tuple) else output))

    stack = next(
        module
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.ModuleList | torch.nn.Sequential)
        and len(module) == num_layers
        and "text_model" not in name
    )
    hooks = [block.register_forward_hook(record) for block in stack]
    with torch.no_grad():
        output = model(*args, **kwargs)
    for hook in hooks:
        hook.remove()
    return blocks, output


def _to_numpy(tensor: Any) -> np.ndarray:
    return np.asarray(tensor.detach().float().numpy())
