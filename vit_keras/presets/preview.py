"""What a notebook shows of a preset."""

from collections.abc import Mapping
from typing import Any

from vit_keras.reporting.notebook import title
from vit_keras.reporting.pages import table, tag, text

_SHOWN = ("image_size", "patch_size", "hidden_dim", "num_layers", "num_heads", "mlp_dim", "pooling")


def render_info(info: Mapping[str, Any]) -> str:
    """Returns what `preset_info` returns as HTML: size and cost, and a row per checkpoint."""
    config = info["config"]
    costs = {
        "parameters without a head": f"{info['params']:,}",
        "GMACs per image": f"{info['gmacs']:.3g}",
        "tokens per image": f"{info['tokens']:,}",
        "training memory per image, float32": f"{info['activation_mib']:,.1f} MiB",
    }
    sizes = {name: str(config[name]) for name in _SHOWN if name in config}
    found = (
        title(info["name"]) + tag("p", text(info["description"])) + table(("", ""), [*costs.items(), *sizes.items()])
    )
    rows = [
        (
            name,
            "none" if weights["num_classes"] is None else f"{weights['num_classes']:,}",
            weights["label_set"] or "",
            "" if weights["top1"] is None else f"{weights['top1']:.1f}",
            f"{weights['megabytes']:,.0f}",
            weights["license"],
        )
        for name, weights in info["weights"].items()
    ]
    heads = ("weights", "outputs", "classes of", "ImageNet top-1, %", "MB", "license")
    return found + (table(heads, rows, numbers=(1, 3, 4)) if rows else tag("p", "No trained weights."))
