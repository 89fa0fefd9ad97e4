"""What the anatomy page says of each step, in each of its languages."""

import functools
import tomllib
from importlib.resources import files
from typing import Any

from vit_keras.config import ViTConfig

LANGUAGES = ("en", "ru")


def labels_of(config: ViTConfig, *, num_classes: int | None, language: str, model: str) -> dict[str, str]:
    """Returns the words of a page that belong to no step.

    Args:
        config: The model's.
        num_classes: Classes of its head; None for none.
        language: One of `LANGUAGES`.
        model: What the page calls the model, HTML already.
    """
    words = words_of(config, num_classes, language) | {"model": model}
    return {name: label.format(**words) for name, label in _texts(language)["labels"].items()}


def steps_of(config: ViTConfig, *, num_classes: int | None, language: str) -> list[dict[str, str]]:
    """Returns the steps of a page in order: of each its name, title, text, equation and the shape of what comes out.

    Args:
        config: The model's.
        num_classes: Classes of its head; None for none.
        language: One of `LANGUAGES`.

    Example:
        >>> config = ViTConfig(image_size=16, patch_size=8, hidden_dim=16, num_layers=2, num_heads=2, mlp_dim=32)
        >>> [step["shape"] for step in steps_of(config, num_classes=3, language="en")][:5]
        ['16 × 16 × 3', '4 × 8 × 8 × 3', '4 × 192', '4 × 16', '5 × 16']
    """
    texts, words, equations = _texts(language), words_of(config, num_classes, language), _texts("equations")
    steps = []
    for step, shape in _shapes(config, num_classes).items():
        variant = _variant(step, config, num_classes)
        # What has words of its own for a variant is told by them; its equation may differ further.
        told = texts[variant if variant in texts else step]
        text = told["text"] + "".join(told[extra] for extra in _extras(step, config) if extra in told)
        step_words = {"title": told["title"].format(**words), "text": text.format(**words)}
        steps.append({"name": step, **step_words, "equation": equations[variant], "shape": shape})
    return steps


def words_of(config: ViTConfig, num_classes: int | None, language: str) -> dict[str, Any]:
    """Returns what the texts' braces stand for.

    Args:
        config: The model's.
        num_classes: Classes of its head; None for none.
        language: One of `LANGUAGES`.
    """
    texts = _texts(language)
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
        "patch_dim": _patch_dim(config),
        "mean": _numbers(config.pixel_mean),
        "std": _numbers(config.pixel_std),
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
def _texts(name: str) -> dict[str, Any]:
    return tomllib.loads(files("vit_keras.explain").joinpath("anatomy_page", f"{name}.toml").read_text("utf-8"))


def _shapes(config: ViTConfig, num_classes: int | None) -> dict[str, str]:
    n, d, heads = config.num_tokens, config.hidden_dim, config.num_heads
    head_dim = d // heads
    height, width = config.image_size
    patch, grid = f"{config.patch_size} × {config.patch_size} × {config.channels}", "{} × {}".format(*config.grid_size)
    return {
        "image": f"{height} × {width} × {config.channels}",
        "patches": f"{grid} × {d}" if config.stem == "conv" else f"{config.num_patches} × {patch}",
        "vectors": f"{config.num_patches} × {_patch_dim(config)}",
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


def _patch_dim(config: ViTConfig) -> int:
    """Numbers that go into the projection: a patch's, or of a stem of convolutions its width."""
    return config.hidden_dim if config.stem == "conv" else config.patch_size**2 * config.channels


def _variant(step: str, config: ViTConfig, num_classes: int | None) -> str:
    """Returns the entry that tells of a step as this model does it."""
    parallel, scaled = "_parallel" * config.parallel_block, "_scaled" * (config.layer_scale is not None)
    rotary = config.rotary_embedding != "none"
    found = {
        "patches": "_conv" * (config.stem == "conv"),
        "vectors": "_conv" * (config.stem == "conv"),
        "prefix": "_none" * (not config.num_prefix_tokens),
        "positions": {"learned": "", "sincos2d": "_sincos", "none": "_none" if rotary else "_nowhere"}[
            config.position_embedding
        ],
        "residual": parallel or scaled,
        "mlp": parallel + scaled,
        "pooling": f"_{config.pooling}",
        "classifier": "_none" * (num_classes is None),
    }
    return step + found.get(step, "")


def _extras(step: str, config: ViTConfig) -> list[str]:
    """Returns what else is said of a step."""
    found = {
        "rotary": step == "queries" and config.rotary_embedding != "none",
        "normalised": step == "queries" and config.qk_norm,
        "scaled": step == "residual" and config.layer_scale is not None,
    }
    return [name for name, holds in found.items() if holds]


def _numbers(values: tuple[float, ...]) -> str:
    """Returns fractions to three places, each once where all are the same."""
    kept = values[:1] if len(set(values)) == 1 else values
    return "; ".join(f"{value:.3g}" for value in kept)
