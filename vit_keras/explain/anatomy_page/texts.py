"""Reads the texts of the page in each of its languages, from the TOML files."""

import functools
import tomllib
from importlib.resources import files
from typing import Any

from vit_keras.config import ViTConfig

LANGUAGES = ("en", "ru")


def read_labels(config: ViTConfig, *, num_classes: int | None, language: str, model: str) -> dict[str, str]:
    """Returns the texts that belong to no single step."""
    words = _make_substitutions(config, num_classes, language) | {"model": model}
    return {name: label.format(**words) for name, label in _read_toml(language)["labels"].items()}


def read_steps(config: ViTConfig, *, num_classes: int | None, language: str) -> list[dict[str, str]]:
    """Returns name, title, text, equation and output shape of each step, in order."""
    texts, equations = _read_toml(language), _read_toml("equations")
    words = _make_substitutions(config, num_classes, language)
    steps = []
    for step, shape in _format_shapes(config, num_classes).items():
        variant = _choose_variant(step, config, num_classes)
        entry = texts[variant if variant in texts else step]  # some variants differ in their equation alone
        text = entry["text"] + "".join(entry[extra] for extra in _choose_extras(step, config) if extra in entry)
        title, text = entry["title"].format(**words), text.format(**words)
        equation = equations[variant]
        if config.norm == "rms":
            equation = equation.replace("LN(", "RMSNorm(")
        steps.append({"name": step, "title": title, "text": text, "equation": equation, "shape": shape})
    return steps


def _make_substitutions(config: ViTConfig, num_classes: int | None, language: str) -> dict[str, Any]:
    """Returns the values of the texts' {braces}."""
    texts = _read_toml(language)
    front = [texts["labels"][name] for name in ("class_token", "distillation_token") if getattr(config, name)]
    if config.num_registers:
        front.append(texts["front"]["registers"].format(num_registers=config.num_registers))
    return {
        "height": config.image_size[0],
        "width": config.image_size[1],
        "channels": config.channels,
        "patch": config.patch_size,
        "rows": config.grid_size[0],
        "columns": config.grid_size[1],
        "patches": config.num_patches,
        "patch_dim": _compute_patch_dim(config),
        "mean": _format_numbers(config.pixel_mean),
        "std": _format_numbers(config.pixel_std),
        "dim": config.hidden_dim,
        "front": texts["front"]["joint"].join(filter(None, [", ".join(front[:-1]), *front[-1:]])),
        "tokens": config.num_tokens,
        "layers": config.num_layers,
        "heads": config.num_heads,
        "head_dim": config.hidden_dim // config.num_heads,
        "mlp_dim": config.mlp_dim,
        "activation": config.activation.replace("gelu", "GELU").replace("silu", "SiLU").replace("_", " "),
        "feature_dim": config.feature_dim,
        "classes": num_classes,
    }


@functools.cache
def _read_toml(name: str) -> dict[str, Any]:
    return tomllib.loads(files("vit_keras.explain.anatomy_page").joinpath(f"{name}.toml").read_text("utf-8"))


def _format_shapes(config: ViTConfig, num_classes: int | None) -> dict[str, str]:
    n, d, heads = config.num_tokens, config.hidden_dim, config.num_heads
    head_dim = d // heads
    height, width = config.image_size
    patch, grid = f"{config.patch_size} × {config.patch_size} × {config.channels}", "{} × {}".format(*config.grid_size)
    return {
        "image": f"{height} × {width} × {config.channels}",
        "patches": f"{grid} × {d}" if config.stem == "conv" else f"{config.num_patches} × {patch}",
        "vectors": f"{config.num_patches} × {_compute_patch_dim(config)}",
        "projection": f"{config.num_patches} × {d}",
        "prefix": f"{n} × {d}",
        "positions": f"{n} × {d}",
        "queries": f"3 × {heads} × {n} × {head_dim}",
        "scores": f"{heads} × {n} × {n}",
        "softmax": f"{heads} × {n} × {n}",
        "heads": f"{heads} × {n} × {head_dim}",
        "joined": f"{n} × {d}",
        "residual": f"{n} × {d}",
        "mlp": f"{n} × {d}",
        "depth": f"{config.num_layers} × {n} × {d}",
        "pooling": f"{config.feature_dim}",
        "classifier": f"{num_classes or config.feature_dim}",
    }


def _compute_patch_dim(config: ViTConfig) -> int:
    """Returns the input width of the projection: a flattened patch, or the width of a convolutional stem."""
    return config.hidden_dim if config.stem == "conv" else config.patch_size**2 * config.channels


def _choose_variant(step: str, config: ViTConfig, num_classes: int | None) -> str:
    """Returns the name of the entry for a step of this model."""
    parallel, scaled = "_parallel" * config.parallel_block, "_scaled" * (config.layer_scale is not None)
    without = "_none" if config.rotary_embedding != "none" else "_nowhere"
    found = {
        "patches": "_conv" * (config.stem == "conv"),
        "vectors": "_conv" * (config.stem == "conv"),
        "prefix": "_none" * (not config.num_prefix_tokens),
        "positions": {"learned": "", "sincos2d": "_sincos", "sincos2d_mae": "_sincos", "none": without}[
            config.position_embedding
        ],
        "residual": parallel or scaled,
        "mlp": parallel + scaled,
        "pooling": f"_{config.pooling}",
        "classifier": "_none" * (num_classes is None),
    }
    return step + found.get(step, "")


def _choose_extras(step: str, config: ViTConfig) -> list[str]:
    """Returns the names of the sentences to append to a step's text."""
    found = {
        "rotary": step == "queries" and config.rotary_embedding != "none",
        "normalized": (step == "queries" and config.qk_norm) or (step == "projection" and config.patch_norm),
        "scaled": step == "residual" and config.layer_scale is not None,
    }
    return [name for name, holds in found.items() if holds]


def _format_numbers(values: tuple[float, ...]) -> str:
    """Returns numbers with three digits; a single one if all are equal."""
    distinct = values[:1] if len(set(values)) == 1 else values
    return "; ".join(f"{value:.3g}" for value in distinct)
