"""Reads `presets/`: which Vision Transformers there are, and what each is. No Keras.

A family file holds `[family]` (description, paper, license, recipe, `config` shared by its presets), then one table a
preset with what differs, then one line a checkpoint in `[NAME.weights]`.
"""

import functools
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from fnmatch import fnmatchcase
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from vit_keras.config import ViTConfig
from vit_keras.errors import InvalidArgumentError
from vit_keras.validation import closest

_FAMILY_KEYS = {"description", "paper", "license", "recipe", "config"}
_CONFIG_KEYS = {item.name for item in fields(ViTConfig)}
_PRESET_KEYS = {"source", "params", "weights"} | _CONFIG_KEYS
_FREE_LICENSES = ("Apache-2.0", "MIT")


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Trained weights of a preset, and what differs with them.

    Args:
        tag: What the weights are called; names what they were trained on.
        source: Whose names the file uses: "timm", "huggingface", "google", "meta" or "vit_keras".
        url: Where the file is; `hf://OWNER/REPOSITORY/FILE` is one on the Hugging Face hub.
        license: License of the weights.
        sha256: Hash of the file, where it is known.
        num_classes: Classes of the head; None where there is none.
        top1: ImageNet-1k accuracy, percent, as timm measured it at this preset's size.
        crop: Fraction of the resized image's shorter side that evaluation looks at.
        crop_mode: "center", or "squash" to resize to the exact size without a crop.
        interpolation: How evaluation resizes.
        config: Fields of `ViTConfig` in place of the preset's.
    """

    tag: str
    source: str
    url: str
    license: str
    sha256: str | None = None
    num_classes: int | None = None
    top1: float | None = None
    crop: float = 1.0
    crop_mode: str = "center"
    interpolation: str = "bicubic"
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def needs_acceptance(self) -> bool:
        """Whether the license restricts use, so that a user has to accept it."""
        return self.license not in _FREE_LICENSES


_CHECKPOINT_KEYS = {item.name for item in fields(Checkpoint)} - {"tag"}


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A named Vision Transformer.

    Args:
        name: The architecture's name, timm's where timm has it.
        family: The file it is written in.
        description: What the family is.
        paper: Address of the family's paper.
        source: Where this preset's numbers are from.
        license: License of the family.
        recipe: Name of the recipe to train it with.
        params: Weights without a head, as stated; a test recomputes them.
        config: What to build.
        weights: Checkpoints by tag.
    """

    name: str
    family: str
    description: str
    paper: str
    source: str
    license: str
    recipe: str
    params: int
    config: ViTConfig
    weights: Mapping[str, Checkpoint] = field(default_factory=dict)


def list_presets(pattern: str = "*") -> list[str]:
    """Returns the names of the presets that match, sorted.

    Args:
        pattern: A name with the wildcards `*`, `?` and `[...]`.

    Example:
        >>> list_presets("vit_huge_patch1?_???")
        ['vit_huge_patch14_224', 'vit_huge_patch16_224', 'vit_huge_patch16_384']
    """
    return sorted(name for name in _presets() if fnmatchcase(name, pattern))


def load_preset(name: str) -> Preset:
    """Returns the preset of this name.

    Raises:
        InvalidArgumentError: There is none; the closest names are proposed.

    Example:
        >>> load_preset("vit_base_patch16_224").config.hidden_dim
        768
    """
    presets = _presets()
    if name not in presets:
        raise InvalidArgumentError(
            f"There is no preset {name!r}. The closest names are {closest(str(name), presets)}; list_presets() and "
            "`vit-keras list` show all."
        )
    return presets[name]


def preset_info(name: str) -> dict[str, Any]:
    """Returns what a preset is and costs, computed from its numbers: nothing is built.

    Returns:
        The preset's `name`, `family`, `description`, `paper`, `source`, `license`, `recipe` and `weights` (by tag); `params`
        and `gmacs` (10^9 multiplications with addition, one image, forward) without a head; `activation_mib` (MiB one image
        keeps for the backward pass, float32); `tokens` (an image); `config` (every field).

    Raises:
        InvalidArgumentError: There is no such preset.

    Example:
        >>> info = preset_info("vit_base_patch16_224")
        >>> info["params"], round(info["gmacs"], 2), info["tokens"]
        (85798656, 17.56, 197)
    """
    preset = load_preset(name)
    config = preset.config
    return {
        "name": preset.name,
        "family": preset.family,
        "description": preset.description,
        "paper": preset.paper,
        "source": preset.source,
        "license": preset.license,
        "recipe": preset.recipe,
        "weights": {
            tag: {**asdict(checkpoint), "megabytes": checkpoint_bytes(config, checkpoint) / 1e6}
            for tag, checkpoint in preset.weights.items()
        },
        "params": config.num_params,
        "gmacs": config.num_macs / 1e9,
        "activation_mib": config.activation_bytes() / 2**20,
        "tokens": config.num_tokens,
        "config": config.to_dict(),
    }


def checkpoint_bytes(config: ViTConfig, checkpoint: Checkpoint) -> int:
    """Returns the size of a checkpoint in float32, bytes, head included.

    Args:
        config: The model's.
        checkpoint: Its weights.
    """
    heads = 2 if config.has_two_heads else 1
    return 4 * (config.num_params + heads * (config.feature_dim + 1) * (checkpoint.num_classes or 0))


def _preset_folder() -> Traversable:
    packaged = files("vit_keras") / "_presets"  # in a wheel
    checkout = Path(__file__).parents[1] / "presets"  # in a checkout or an editable install
    return packaged if packaged.is_dir() else checkout


@functools.cache
def _presets() -> dict[str, Preset]:
    found: dict[str, Preset] = {}
    for file in sorted(_preset_folder().iterdir(), key=lambda item: item.name):
        if file.name.endswith(".toml"):
            for preset in read_family(file.name.removesuffix(".toml"), file.read_text("utf-8")):
                if preset.name in found:
                    raise InvalidArgumentError(f"{file.name} has a second preset {preset.name!r}; names are unique.")
                found[preset.name] = preset
    return found


def read_family(family: str, text: str) -> list[Preset]:
    r"""Returns the presets of one family file.

    Args:
        family: The file's name without its ending.
        text: What the file holds, TOML.

    Raises:
        InvalidArgumentError: The text is not TOML, a key is unknown or missing, or a preset is no legal ViT.

    Example:
        >>> read_family("empty", "[family]\ndescription = ''\npaper = ''\nlicense = ''\nrecipe = ''")
        []
    """
    where = f"presets/{family}.toml"
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidArgumentError(f"{where} is not TOML: {error}.") from error
    shared = tables.pop("family", {})
    _check_kinds(where, {"family": shared, **tables}, dict)
    _check_kinds(f"{where} [family]", {"config": shared.get("config", {})}, dict)
    _check_keys(f"{where} [family]", shared, known=_FAMILY_KEYS, required=_FAMILY_KEYS - {"config"})
    _check_keys(f"{where} [family.config]", shared.get("config", {}), known=_CONFIG_KEYS, required=set())
    presets = []
    for name, table in tables.items():
        _check_keys(f"{where} [{name}]", table, known=_PRESET_KEYS, required={"source", "params"})
        _check_kinds(f"{where} [{name}]", {"params": table["params"]}, int)
        _check_kinds(f"{where} [{name}]", {"weights": table.get("weights", {})}, dict)
        _check_kinds(f"{where} [{name}.weights]", table.get("weights", {}), dict)
        own = {key: value for key, value in table.items() if key in _CONFIG_KEYS}
        try:
            config = ViTConfig(**{**shared.get("config", {}), **own})
        except InvalidArgumentError as error:
            raise InvalidArgumentError(f"{where} [{name}]: {error}") from error
        weights = {
            tag: _checkpoint(f"{where} [{name}.weights] {tag}", tag, {"license": shared["license"], **entry}, config)
            for tag, entry in table.get("weights", {}).items()
        }
        presets.append(
            Preset(
                name=name,
                family=family,
                description=shared["description"],
                paper=shared["paper"],
                source=table["source"],
                license=shared["license"],
                recipe=shared["recipe"],
                params=table["params"],
                config=config,
                weights=weights,
            )
        )
    return presets


def _checkpoint(where: str, tag: str, entry: Mapping[str, Any], config: ViTConfig) -> Checkpoint:
    _check_keys(where, entry, known=_CHECKPOINT_KEYS, required={"source", "url"})
    _check_kinds(where, {"config": entry.get("config", {})}, dict)
    try:
        config.replace(**entry.get("config", {}))
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"{where}: {error}") from error
    return Checkpoint(tag=tag, **entry)


def _check_kinds(where: str, values: Mapping[str, Any], kind: type) -> None:
    wrong = [f"{name} = {value!r}" for name, value in values.items() if type(value) is not kind]
    if wrong:
        raise InvalidArgumentError(
            f"{where}: expected {'a table' if kind is dict else 'a whole number'}, not {', '.join(wrong)}."
        )


def _check_keys(where: str, table: Mapping[str, Any], *, known: set[str], required: set[str]) -> None:
    unknown, missing = sorted(table.keys() - known), sorted(required - table.keys())
    if unknown or missing:
        reasons = [f"unknown {unknown}"] * bool(unknown) + [f"missing {missing}"] * bool(missing)
        raise InvalidArgumentError(f"{where}: {', '.join(reasons)}; the known keys are {sorted(known)}.")
