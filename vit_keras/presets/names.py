"""Understands the names of presets and of their weights, also those that timm and Hugging Face use."""

import functools
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

from vit_keras.errors import InvalidArgumentError
from vit_keras.presets.preset import Preset
from vit_keras.validation import closest, list_words

_WEB_PREFIXES = ("hf_hub:", "hf-hub:", "hf://", "https://huggingface.co/", "huggingface.co/")
_TIMM = "timm/"
_PUBLISHED_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")
_ON_HUB = re.compile(r"hf://([^/]+/[^/@]+)")


@dataclass(frozen=True, kw_only=True)
class PresetName:
    """A preset, and perhaps its weights.

    Args:
        preset: Name of the preset.
        tag: Tag of its weights; None for none.
        taken: Of a model on Hugging Face: which part of it these weights are; None for all of it.
        config: Fields of `ViTConfig` that the published model's config states otherwise than the preset.
    """

    preset: str
    tag: str | None = None
    taken: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)


def parse_name(word: str, presets: Mapping[str, Preset]) -> PresetName | None:
    """Returns what a word names; None for anything else.

    A word is a preset's `NAME`, or the `NAME:TAG` of its weights; timm's `NAME.TAG`, `timm/NAME.TAG` or `hf_hub:timm/NAME.TAG`; or the
    `OWNER/NAME` of a published model on Hugging Face that a preset has the weights of, also behind `hf_hub:` or as an address.

    Raises:
        InvalidArgumentError: The preset has no weights of that tag; the message lists its tags.
    """
    if word in presets:
        return PresetName(preset=word)
    prefix, rest = _strip_web(word)
    if rest.startswith(_TIMM) or not prefix:
        name, separator, tag = _split_tag(rest.removeprefix(_TIMM))
        if name in presets:
            if separator and tag not in presets[name].weights:
                raise InvalidArgumentError(refuse_tag(presets[name], tag))
            return PresetName(preset=name, tag=tag or None)
    return _find_published(rest, presets)


def refuse_tag(preset: Preset, tag: str) -> str:
    """Returns the message for a tag that a preset does not have."""
    return f"The preset {preset.name!r} has no weights {tag!r}: its tags are {list_words(sorted(preset.weights))}."


def refuse_name(word: str, presets: Iterable[str], *, what: str) -> str:
    """Returns the message for a word that names no preset: `what` is wrong, the nearest names, and what to do."""
    _, name = _strip_web(word)
    if is_published_id(name) and not name.startswith(_TIMM):
        near = closest(name, published_models())
        hint = f" The closest that vit_keras knows are {list_words(near)}." if near else ""
        return (
            f"{what}{hint} Of any other model on Hugging Face, download the directory and give its path: `hf download {name} "
            f"--local-dir {name.rpartition('/')[2]}`."
        )
    near = closest(_split_tag(name.removeprefix(_TIMM))[0], presets)
    hint = f" The closest names are {list_words(near)};" if near else ""
    return f"{what}{hint} list_presets() and `vit-keras list` show all."


def is_published_id(word: str) -> bool:
    """Whether a word has the form of a model on Hugging Face: `OWNER/NAME`, perhaps behind `hf_hub:` or the site's address."""
    return _PUBLISHED_ID.fullmatch(_strip_web(word)[1]) is not None


@functools.cache
def published_models() -> Mapping[str, PresetName]:
    """Returns the preset's weights of each model on Hugging Face that has another name there, by `OWNER/NAME`."""
    text = (files("vit_keras") / "presets" / "published_models.toml").read_text("utf-8")
    found = {}
    for group in tomllib.loads(text).values():
        for name, weights in group["models"].items():
            preset, _, tag = weights.partition(":")
            found[name] = PresetName(preset=preset, tag=tag, taken=group.get("taken"), config=group.get("config", {}))
    return found


def _find_published(word: str, presets: Mapping[str, Preset]) -> PresetName | None:
    by_name = {name.lower(): found for name, found in published_models().items()}
    if word.lower() in by_name:
        return by_name[word.lower()]
    for preset in presets.values():
        for tag, checkpoint in preset.weights.items():
            on_hub = _ON_HUB.match(checkpoint.url or "")
            if on_hub is not None and on_hub[1].lower() == word.lower():
                return PresetName(preset=preset.name, tag=tag)
    return None


def _strip_web(word: str) -> tuple[str, str]:
    """Returns what says that a word is on Hugging Face, such as `hf_hub:`, and the rest."""
    prefix = next((each for each in _WEB_PREFIXES if word.startswith(each)), "")
    return prefix, word.removeprefix(prefix).rstrip("/") if prefix else word


def _split_tag(word: str) -> tuple[str, str, str]:
    """Returns a preset's name, the separator and the tag of `NAME:TAG` or `NAME.TAG`; empty strings without a tag."""
    return word.partition(":" if ":" in word else ".")
