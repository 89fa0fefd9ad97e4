"""One page, in one file, that walks an image through a model."""

import base64
import hashlib
import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import keras

from vit_keras.explain.anatomy_numbers import likeliest, numbers_of, probabilities_of
from vit_keras.explain.anatomy_sources import sources_of
from vit_keras.explain.anatomy_steps import Anatomy, anatomy
from vit_keras.explain.anatomy_words import LANGUAGES, labels_of, steps_of
from vit_keras.models.vit import model_num_classes
from vit_keras.reporting.pages import document, text
from vit_keras.reporting.text import escape_unprintable
from vit_keras.runtime.files import write_text


def anatomy_report(
    model: keras.Model, image: Any, path: Path, *, class_names: Sequence[str] = (), title: str = ""
) -> None:
    """Writes a page that takes one forward pass apart, step by step, with the model's own numbers; in English and Russian.

    The page is one file that needs no network. It is as large as the model's queries and keys in 8 bits: 4 MB for S/16 at 224 px.

    Args:
        model: A model that `vit` or `from_preset` made.
        image: `(height, width, channels)`, pixels 0..255.
        path: Where to; a page that is there already is replaced.
        class_names: What the classes are called.
        title: What the page calls the model; by default the model's name.

    Raises:
        DataError: It is no image of the model's size, or several.
        InvalidArgumentError: The model is none of ours, or has another number of classes.
        StorageError: The page can't be written.
    """
    write_text(path, page_of(anatomy(model, image, class_names=class_names), title=title or model.name))


def page_of(passed: Anatomy, *, title: str) -> str:
    """Returns the page.

    Args:
        passed: All steps of a forward pass.
        title: What the page calls the model.
    """
    parts = {
        name: files("vit_keras.explain").joinpath("anatomy_page", f"anatomy.{name}").read_text("utf-8")
        for name in ("css", "js")
    }
    numbers = numbers_of(passed)
    facts = json.dumps(_facts(passed, title) | {"numbers": numbers.directory}, ensure_ascii=False)
    # The only script that a browser may run here is the one whose digest the policy names.
    digest = base64.b64encode(hashlib.sha256(parts["js"].encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    body = (
        "<noscript>This page draws itself with JavaScript, which is switched off.</noscript>\n"
        f'<script type="application/json" id="facts">{facts.replace("<", chr(92) + "u003c")}</script>\n'
        f'<script type="text/plain" id="numbers">{base64.b64encode(numbers.compressed()).decode()}</script>\n'
        f"<script>{parts['js']}</script>\n"
    )
    return document(title, policy=policy, style=parts["css"], body=body)


def _facts(passed: Anatomy, title: str) -> dict[str, Any]:
    """Returns what a page says that is not an array."""
    config, num_classes = passed.config, model_num_classes(passed.model)
    names = passed.class_names or tuple(str(number) for number in range(num_classes or 0))
    classes = []
    if passed.logits is not None:
        shares = probabilities_of(passed)
        classes = [
            {
                "name": escape_unprintable(names[number]),
                "number": number,
                "logit": float(passed.logits[number]),
                "probability": float(shares[number]),
            }
            for number in likeliest(passed)
        ]
    return {
        "model": escape_unprintable(title),
        "config": config.to_dict() | {"grid_size": config.grid_size, "num_prefix_tokens": config.num_prefix_tokens},
        "classes": classes,
        "sources": sources_of(config),
        "languages": {
            language: {
                "labels": labels_of(config, num_classes=num_classes, language=language, model=text(title)),
                "steps": steps_of(config, num_classes=num_classes, language=language),
            }
            for language in LANGUAGES
        },
    }
