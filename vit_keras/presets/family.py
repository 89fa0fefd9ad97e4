"""Reads a family file: TOML that describes presets and their checkpoints.

It holds `[family]` (description, paper, license, recipe; `config` and `pretraining` shared by its presets), one table per preset with
what differs, and one line per checkpoint in `[NAME.weights]`.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import PurePath
from typing import Any

from vit_keras.config import ViTConfig
from vit_keras.errors import InvalidArgumentError
from vit_keras.presets.label_sets import LABEL_SETS, find_label_set
from vit_keras.presets.preset import PRETRAININGS, Checkpoint, Preset
from vit_keras.validation import list_words

_FAMILY_KEYS = {"description", "paper", "license", "recipe", "config", "pretraining"}
_CONFIG_KEYS = {item.name for item in fields(ViTConfig)}
_PRESET_KEYS = {"source", "params", "weights"} | _CONFIG_KEYS
_CHECKPOINT_KEYS = {item.name for item in fields(Checkpoint)} - {"tag"}


def read_family(where: str, text: str) -> list[Preset]:
    """Returns the presets of one family file, a TOML text; the name of its path without ending is the family."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidArgumentError(f"{where} is not TOML: {error}.") from error
    shared = tables.pop("family", {})
    _check_kinds(where, {"family": shared, **tables}, dict)
    _check_keys(f"{where} [family]", shared, known=_FAMILY_KEYS, required=_FAMILY_KEYS - {"config", "pretraining"})
    stated = {key: value for key, value in shared.items() if key != "config"}
    _check_kinds(f"{where} [family]", stated, str)
    _check_kinds(f"{where} [family]", {"config": shared.get("config", {})}, dict)
    _check_keys(f"{where} [family.config]", shared.get("config", {}), known=_CONFIG_KEYS, required=set())
    stated.pop("pretraining", None)
    presets = []
    for name, table in tables.items():
        here = f"{where} [{name}]"
        weights = table.get("weights", {})
        _check_keys(here, table, known=_PRESET_KEYS, required={"source", "params"})
        _check_kinds(here, {"params": table["params"]}, int)
        _check_kinds(here, {"source": table["source"]}, str)
        _check_kinds(here, {"weights": weights}, dict)
        _check_kinds(f"{where} [{name}.weights]", weights, dict)
        own = {key: value for key, value in table.items() if key in _CONFIG_KEYS}
        try:
            config = ViTConfig(**{**shared.get("config", {}), **own})
        except InvalidArgumentError as error:
            raise InvalidArgumentError(f"{here}: {error}") from error
        defaults = {key: shared[key] for key in ("license", "pretraining") if key in shared}
        checkpoints = {
            tag: _read_checkpoint(f"{where} [{name}.weights] {tag}", tag, {**defaults, **entry}, config)
            for tag, entry in weights.items()
        }
        family, source, params = PurePath(where).stem, table["source"], table["params"]
        preset = Preset(
            name=name, family=family, source=source, params=params, config=config, weights=checkpoints, **stated
        )
        presets.append(preset)
    return presets


def _read_checkpoint(where: str, tag: str, entry: Mapping[str, Any], config: ViTConfig) -> Checkpoint:
    _check_keys(where, entry, known=_CHECKPOINT_KEYS, required={"source", "license"})
    if len({"url", "file"} & entry.keys()) != 1:
        raise InvalidArgumentError(f"{where}: expected either url, an address, or file, a directory in the package.")
    texts = ("source", "license", "url", "file", "note")
    _check_kinds(where, {key: entry[key] for key in texts if key in entry}, str)
    _check_kinds(where, {"config": entry.get("config", {})}, dict)
    if entry.get("config"):
        try:
            config.replace(**entry["config"])
        except InvalidArgumentError as error:
            raise InvalidArgumentError(f"{where}: {error}") from error
    num_classes = entry.get("num_classes")
    label_set = entry.get("label_set", find_label_set(num_classes, tag))
    if label_set is not None and LABEL_SETS.get(label_set) != num_classes:
        raise InvalidArgumentError(
            f"{where}: label_set = {label_set!r} with num_classes = {num_classes!r}; expected one of these with its number: {LABEL_SETS}."
        )
    pretraining = entry.get("pretraining", "supervised" if label_set is not None else None)
    if pretraining not in (None, *PRETRAININGS):
        raise InvalidArgumentError(
            f"{where}: pretraining = {pretraining!r}; expected one of {list_words(PRETRAININGS)}."
        )
    return Checkpoint(tag=tag, **{**entry, "label_set": label_set, "pretraining": pretraining})


def _check_kinds(where: str, values: Mapping[str, Any], kind: type) -> None:
    wrong = [f"{name} = {value!r}" for name, value in values.items() if type(value) is not kind]
    if wrong:
        expected = {dict: "a table", int: "an integer", str: "a string"}[kind]
        raise InvalidArgumentError(f"{where}: expected {expected}, not {', '.join(wrong)}.")


def _check_keys(where: str, table: Mapping[str, Any], *, known: set[str], required: set[str]) -> None:
    unknown, missing = sorted(table.keys() - known), sorted(required - table.keys())
    if unknown or missing:
        reasons = [f"unknown {list_words(unknown)}"] * bool(unknown) + [f"missing {list_words(missing)}"] * bool(
            missing
        )
        raise InvalidArgumentError(f"{where}: {', '.join(reasons)}; the known keys are {list_words(sorted(known))}.")
