"""The model card (README.md) of a preset directory."""

from collections.abc import Sequence

from vit_keras.config import ViTConfig
from vit_keras.data.tasks import describe_count
from vit_keras.reporting.text import escape_markdown, escape_unprintable

_METRICS = {"multi_label": "f1", "regression": "mae"}


def model_card(name: str, config: ViTConfig, *, class_names: Sequence[str], notes: str, task: str | None = None) -> str:
    """Returns a model card: Markdown with the front matter that Hugging Face reads."""
    size = "{}x{} px".format(*config.image_size)
    if config.max_num_patches is not None:
        size = f"any aspect ratio, resized to at most {config.max_num_patches} patches of {config.patch_size} px,"
    between = "; " if any("," in name for name in class_names) else ", "
    first_names = between.join(map(escape_markdown, class_names[:20]))
    dots = f"{between}..." if len(class_names) > 20 else ""
    count = describe_count(task or "single_label", len(class_names))
    head = f"{count}: {first_names}{dots}" if class_names else "no head"
    # Only the author of the weights knows their license.
    pipeline, metrics = (
        ("image-classification", f"\nmetrics:\n- {_METRICS.get(task or '', 'accuracy')}")
        if class_names
        else ("image-feature-extraction", "")
    )
    return f"""---
library_name: vit_keras
pipeline_tag: {pipeline}
license: unknown  # choose one before you share this: https://huggingface.co/docs/hub/repositories-licenses
tags:
- keras
- vision-transformer
- {pipeline}{metrics}
---

# {escape_markdown(name)}

A Vision Transformer for Keras, written by vit_keras.

- Images of {size} with {config.channels} channels, pixels 0..255
- {config.num_layers} blocks of width {config.hidden_dim} with {config.num_heads} heads: {config.num_params:,} parameters and
  {config.num_macs / 1e6:,.1f} million multiply-adds per image, without the head
- {head}

```python
import vit_keras as vk

model = vk.from_preset("path/to/{escape_unprintable(name)}")
```
{notes}"""
