"""Finds the source code of each step of a forward pass."""

import inspect
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import vit_keras
from vit_keras import layers
from vit_keras.config import ViTConfig
from vit_keras.layers.kernels.attention_kernel import attend_by_products
from vit_keras.layers.patch_encoder import SINCOS, sincos2d
from vit_keras.models import architecture
from vit_keras.models import vit as model

_PACKAGE = Path(vit_keras.__file__).parent


def find_sources(config: ViTConfig) -> dict[str, list[dict[str, Any]]]:
    """Returns name, file, line and text of the functions that compute each step."""
    stem = layers.Patches.call if config.stem == "patch" else layers.ConvStem.call
    pooling = layers.AttentionPooling.call if config.pooling == "map" else layers.TokenPooling.call
    parallel, block = layers.ParallelBlock, layers.TransformerBlock
    branches: list[Callable[..., Any]] = (
        [parallel._parallel_branches] if config.parallel_block else [block._attention_branch, block._mlp_branch]
    )
    steps: dict[str, list[Callable[..., Any]]] = {
        "image": [layers.PixelNormalization.call],
        "patches": [stem],
        "vectors": [stem],
        "projection": [layers.PatchEncoder.call],
        "prefix": [layers.PatchEncoder.call],
        "positions": [layers.PatchEncoder.call],
        "queries": [layers.SelfAttention.call],
        "scores": [attend_by_products],
        "softmax": [attend_by_products],
        "heads": [attend_by_products],
        "joined": [layers.SelfAttention.call],
        "residual": [branches[0], parallel.call if config.parallel_block else block.call],
        "mlp": [layers.MLP.call, branches[-1]],
        "depth": [model.vit],
        "pooling": [pooling, architecture._add_features],
        "classifier": [architecture._add_heads],
    }
    if config.position_embedding in SINCOS:
        steps["positions"].append(sincos2d)
    if config.rotary_embedding != "none":
        steps["queries"].append(layers.RotaryEmbedding.call)
    if config.layer_scale is not None:
        steps["residual"].append(layers.LayerScale.call)
    return {step: [_read_source(function) for function in functions] for step, functions in steps.items()}


def _read_source(function: Callable[..., Any]) -> dict[str, Any]:
    lines, first = inspect.getsourcelines(function)
    file = Path(inspect.getfile(function)).relative_to(_PACKAGE.parent).as_posix()
    text = textwrap.dedent("".join(lines)).rstrip()
    return {"name": function.__qualname__, "file": file, "line": first, "text": text}
