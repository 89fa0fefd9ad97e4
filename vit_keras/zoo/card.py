"""The card of a preset directory: what a model is, as its README says it."""

from collections.abc import Sequence

from vit_keras.config import ViTConfig
from vit_keras.reporting.text import escape_markdown, escape_unprintable


def card_of(name: str, config: ViTConfig, *, class_names: Sequence[str], notes: str) -> str:
    """Returns a model card, Markdown under what Hugging Face reads of it.

    Args:
        name: What the model is called.
        config: What it is.
        class_names: What its outputs mean; none where it has no head.
        notes: Markdown that follows.

    Example:
        >>> from vit_keras.presets import load_preset
        >>> config = load_preset("vit_tiny_patch16_224").config
        >>> print(card_of("mine", config, class_names=["cat", "dog"], notes="")[:62])
        ---
        library_name: vit_keras
        pipeline_tag: image-classification
    """
    height, width = config.image_size
    shown_names = ", ".join(map(escape_markdown, class_names[:20]))
    classes = (
        f"{len(class_names)} classes: {shown_names}{', ...' if len(class_names) > 20 else ''}"
        if class_names
        else "no head"
    )
    return f"""{_front_matter(has_head=bool(class_names))}
# {escape_markdown(name)}

A Vision Transformer for Keras, written by vit_keras.

- Images of {height}x{width} px with {config.channels} channels, pixels 0..255
- {config.num_layers} blocks of width {config.hidden_dim} with {config.num_heads} heads: {config.num_params:,} parameters and
  {config.num_macs / 1e6:,.1f} million multiplications with addition an image, head apart
- {classes}

```python
import vit_keras as vk

model = vk.from_preset("path/to/{escape_unprintable(name)}")
```
{notes}"""


def _front_matter(*, has_head: bool) -> str:
    """Returns what Hugging Face reads of a model card; which license the weights have, only their maker knows."""
    task, metrics = ("image-classification", "\nmetrics:\n- accuracy") if has_head else ("image-feature-extraction", "")
    return f"""---
library_name: vit_keras
pipeline_tag: {task}
license: unknown  # choose one before you share this: https://huggingface.co/docs/hub/repositories-licenses
tags:
- keras
- vision-transformer
- {task}{metrics}
---
"""
