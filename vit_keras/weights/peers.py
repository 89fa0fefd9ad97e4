"""Asks the library that wrote a directory for its own model's outputs, to compare ours with."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from vit_keras.config import ViTConfig
from vit_keras.errors import InvalidArgumentError
from vit_keras.weights.settings.huggingface import PREPROCESSOR
from vit_keras.weights.settings.read import CONFIG, library_of, read_json
from vit_keras.weights.verify import Reference

_NEEDS = {"huggingface": ("transformers", "torch"), "timm": ("timm", "torch")}


def reference_of_directory(directory: str | Path, config: ViTConfig, *, images: int = 2, seed: int = 0) -> Reference:
    """Returns what transformers or timm computes with its own model of a directory, on random pixels.

    The library builds the model, loads the weights and normalizes the pixels by its own front door; nothing of ours is used.

    Args:
        directory: What `save_pretrained` or `save_for_hf` wrote.
        config: Our model's of the same directory, for the images' size and which output is the features.
        images: Images.
        seed: Decides the pixels.

    Raises:
        StorageError: There is no config.json.
        InvalidArgumentError: The directory is of neither library, or the library is not installed.
    """
    folder = Path(directory)
    said = read_json(folder / CONFIG)
    library = library_of(said) if isinstance(said, dict) else None
    if library not in _NEEDS:
        raise InvalidArgumentError(
            f"{folder}: this is no directory of transformers or timm, so there is no other library to compare with."
        )
    modules = _import(_NEEDS[library], folder)
    shape = (images, *config.image_size, config.channels)
    pixels = np.random.default_rng(seed).integers(0, 256, shape).astype("uint8")
    run = _run_transformers if library == "huggingface" else _run_timm
    blocks, output = run(modules[0], modules[1], folder, pixels, config)
    return Reference(
        made_by=f"{_NEEDS[library][0]} {modules[0].__version__}",
        config=config,
        weights={},
        pixels=pixels.astype("float32"),
        blocks=tuple(blocks),
        logits=output,
    )


def _import(names: Sequence[str], folder: Path) -> list[Any]:
    try:
        return [import_module(name) for name in reversed(names)][::-1]  # torch first
    except ImportError as error:
        raise InvalidArgumentError(
            f"{folder}: to compare with {names[0]} it must be installed: pip install {' '.join(names)} ({error})."
        ) from error


def _run_transformers(
    transformers: Any, torch: Any, folder: Path, pixels: np.ndarray, config: ViTConfig
) -> tuple[list[np.ndarray], np.ndarray]:
    architecture = transformers.AutoConfig.from_pretrained(folder).architectures[0]
    model = getattr(transformers, architecture).from_pretrained(folder).eval()
    if (folder / PREPROCESSOR).is_file():
        processor = transformers.AutoImageProcessor.from_pretrained(folder)
        inputs = processor(
            images=list(pixels),
            do_resize=False,
            do_center_crop=False,
            input_data_format="channels_last",
            return_tensors="pt",
        )["pixel_values"]
    else:
        inputs = _normalized(torch, pixels, config.pixel_mean, config.pixel_std)
    text = {"input_ids": torch.zeros((1, 1), dtype=torch.long)} if hasattr(model, "text_model") else {}
    blocks, output = _run(torch, model, inputs, config.num_layers, pixel_values=inputs, **text)
    return blocks, _features(output, config)


def _features(output: Any, config: ViTConfig) -> np.ndarray:
    """Returns which of transformers' outputs is our model's."""
    for name in ("logits", "image_embeds"):
        if name in output and (name != "logits" or output[name].ndim == 2):
            return _array(output[name])
    if config.pooling == "map":
        return _array(output["pooler_output"])
    if config.stem_norm:  # CLIP normalizes what it pools, and only that
        return _array(output["pooler_output"])
    tokens = output["last_hidden_state"]
    return _array(tokens[:, 0] if config.pooling == "token" else tokens[:, config.num_prefix_tokens :].mean(1))


def _run_timm(
    timm: Any, torch: Any, folder: Path, pixels: np.ndarray, config: ViTConfig
) -> tuple[list[np.ndarray], np.ndarray]:
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    prepared = timm.data.resolve_model_data_config(model)
    inputs = _normalized(torch, pixels, prepared["mean"], prepared["std"])
    blocks, output = _run(torch, model, inputs, config.num_layers, inputs)
    return blocks, _array(output)


def _normalized(torch: Any, pixels: np.ndarray, mean: Sequence[float], std: Sequence[float]) -> Any:
    fractions = (pixels.astype("float32") / 255 - np.asarray(mean, "float32")) / np.asarray(std, "float32")
    return torch.from_numpy(np.ascontiguousarray(fractions.transpose(0, 3, 1, 2)))


def _run(
    torch: Any, model: Any, inputs: Any, num_layers: int, *args: Any, **kwargs: Any
) -> tuple[list[np.ndarray], Any]:
    """Returns each block's output, and the model's."""
    lists = (torch.nn.ModuleList, torch.nn.Sequential)
    blocks: list[np.ndarray] = []

    def keep(_: Any, __: Any, output: Any) -> None:
        blocks.append(_array(output[0] if isinstance(output, tuple) else output))

    stack = [
        module for name, module in model.named_modules()
        if isinstance(module, lists) and len(module) == num_layers and "text_model" not in name
    ]  # fmt: skip
    hooks = [block.register_forward_hook(keep) for block in stack[0]]
    with torch.no_grad():
        output = model(*args, **kwargs)
    for hook in hooks:
        hook.remove()
    return blocks, output


def _array(tensor: Any) -> np.ndarray:
    return np.asarray(tensor.detach().float().numpy())
