"""`anatomy_report`: writes the page."""

import base64
import hashlib
import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import keras
from scipy.special import softmax

from vit_keras.config import ViTConfig
from vit_keras.errors import InvalidArgumentError
from vit_keras.explain.anatomy_page.numbers import pack_arrays, top_classes
from vit_keras.explain.anatomy_page.sources import find_sources
from vit_keras.explain.anatomy_page.texts import LANGUAGES, read_labels, read_steps
from vit_keras.explain.forward_pass import Anatomy, anatomy
from vit_keras.models.vit import model_num_classes
from vit_keras.reporting.pages import document, text
from vit_keras.reporting.text import escape_unprintable
from vit_keras.runtime.files import write_text


def anatomy_report(
    model: keras.Model, image: Any, path: str | Path, *, class_names: Sequence[str] = (), title: str = ""
) -> None:
    """Writes an HTML page that shows one forward pass step by step, in English and Russian.

    The page is one self-contained file. Its size is that of the model's queries and keys in 8 bits: 4 MB for S/16 at 224 px.

    Args:
        model: A vit_keras model.
        image: `(height, width, channels)`, pixels 0..255.
        path: The file; an existing one is replaced.
        class_names: Names of the classes.
        title: Name of the model in the page; by default the model's own.

    Raises:
        DataError: The image does not fit the model, or there are several.
        InvalidArgumentError: It is not a vit_keras model, has another number of classes, or blocks that the page does not show: with
            norms after the branches, relative position biases, or differential attention.
        StorageError: The page cannot be written.
    """
    write_text(Path(path), format_page(anatomy(model, image, class_names=class_names), title=title or model.name))


def _check_block(config: ViTConfig) -> None:
    """Raises `InvalidArgumentError` for blocks whose steps the page does not have."""
    plain = {"block_norm": "before", "relative_position": "none", "differential_attention": False}
    other = {name: getattr(config, name) for name, value in plain.items() if getattr(config, name) != value}
    if other:
        listed = ", ".join(f"{name}={value!r}" for name, value in other.items())
        raise InvalidArgumentError(
            f"The anatomy page has no steps for {listed}. Attention maps, rollout and class relevance are drawn for every model with "
            "attention weights; vit_keras.explain.anatomy returns the numbers of every step."
        )


def format_page(passed: Anatomy, *, title: str) -> str:
    """Returns the page of a forward pass; `title` is the name of the model in it."""
    _check_block(passed.config)
    folder = files("vit_keras.explain.anatomy_page")
    parts = {name: folder.joinpath(f"anatomy.{name}").read_text("utf-8") for name in ("css", "js")}
    numbers = pack_arrays(passed)
    facts = json.dumps(_collect_facts(passed, title) | {"numbers": numbers.directory}, ensure_ascii=False)
    # The browser runs no other script than the one with this digest.
    digest = base64.b64encode(hashlib.sha256(parts["js"].encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    body = (
        "<noscript>This page needs JavaScript, which is switched off.</noscript>\n"
        f'<script type="application/json" id="facts">{facts.replace("<", chr(92) + "u003c")}</script>\n'
        f'<script type="text/plain" id="numbers">{base64.b64encode(numbers.compressed()).decode()}</script>\n'
        f"<script>{parts['js']}</script>\n"
    )
    return document(title, policy=policy, style=parts["css"], body=body)


def _collect_facts(passed: Anatomy, title: str) -> dict[str, Any]:
    """Returns everything in the page that is not an array."""
    config, num_classes = passed.config, model_num_classes(passed.model)
    names = passed.class_names or tuple(map(str, range(num_classes or 0)))
    classes = []
    if passed.logits is not None:
        probabilities = softmax(passed.logits)
        for number in top_classes(passed):
            logit, probability = float(passed.logits[number]), float(probabilities[number])
            name = escape_unprintable(names[number])
            classes.append({"name": name, "number": number, "logit": logit, "probability": probability})
    languages = {}
    for language in LANGUAGES:
        labels = read_labels(config, num_classes=num_classes, language=language, model=text(title))
        steps = read_steps(config, num_classes=num_classes, language=language)
        languages[language] = {"labels": labels, "steps": steps}
    return {
        "model": escape_unprintable(title),
        "config": config.to_dict()
        | {
            "grid_size": config.grid_size,
            "image_size": [count * config.patch_size for count in config.grid_size],  # what the patches cover
            "num_prefix_tokens": config.num_prefix_tokens,
        },
        "classes": classes,
        "sources": find_sources(config),
        "languages": languages,
    }
