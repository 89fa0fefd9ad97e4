"""All presets: the shipped family files in `presets/`, and those that the user registers."""

import functools
import os
import re
from collections.abc import Iterator, MutableMapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vit_keras.errors import InvalidArgumentError, StorageError
from vit_keras.presets.family import read_family
from vit_keras.presets.names import PresetName, parse_name, refuse_name
from vit_keras.presets.preset import Preset, checkpoint_bytes
from vit_keras.presets.relatives import find_relatives

_REGISTERED_FILES = "VIT_KERAS_PRESETS"  # environment variable: worker processes inherit it
_HEADER = re.compile(r"^\[(\w+)\]$", re.MULTILINE)  # of a table in a shipped file; a test compares with tomllib


def load_preset(name: str) -> Preset:
    """Returns the preset of this name.

    Args:
        name: The preset's name, also with a tag of its weights, as timm writes it, or as a model on Hugging Face.

    Raises:
        InvalidArgumentError: There is none; the message proposes the closest names.

    Example:
        >>> load_preset("vit_base_patch16_224").config.hidden_dim
        768
        >>> load_preset("facebook/dinov2-base").name
        'vit_base_patch14_dinov2'
    """
    presets = all_presets()
    if name in presets:
        return presets[name]
    found = find_name(name)
    if found is None:
        raise InvalidArgumentError(refuse_name(str(name), presets, what=f"There is no preset {name!r}."))
    return presets[found.preset]


def find_name(word: str) -> PresetName | None:
    """Returns the preset, and perhaps its weights, that a word names; None for none. See `parse_name`."""
    return parse_name(str(word), all_presets())


class PresetInfo(dict[str, Any]):
    """The fields and costs of a preset, a dictionary that a notebook shows as a table."""

    def _repr_html_(self) -> str:
        from vit_keras.presets.preview import render_info

        return render_info(self)


def preset_info(name: str) -> PresetInfo:
    """Returns a preset's fields and costs, without building it.

    Returns:
        The preset's `name`, `family`, `description`, `paper`, `source`, `license`, `recipe` and `weights` (by tag, each with
        its `label_set` and `pretraining`); `params` and `gmacs` (10^9 multiply-adds per image, forward) without a head;
        `activation_mib` (MiB per image kept for the backward pass, float32); `tokens` (per image); `relatives` (names of presets
        of the `same_shape`, and the next `smaller` and `larger` one of the family, or None); `config` (every field).

    Raises:
        InvalidArgumentError: There is no such preset.

    Example:
        >>> info = preset_info("vit_base_patch16_224")
        >>> info["params"], round(info["gmacs"], 2), info["tokens"]
        (85798656, 17.56, 197)
    """
    relatives = find_relatives(load_preset(name), list(all_presets().values())).to_dict()
    return PresetInfo(preset_facts(name), relatives=relatives)


def preset_facts(name: str) -> dict[str, Any]:
    """Returns what `preset_info` does without the `relatives`, for which every preset is read."""
    preset = load_preset(name)
    config, weights = preset.config, dict[str, Any]()
    for tag, checkpoint in preset.weights.items():
        weights[tag] = {**asdict(checkpoint), "megabytes": checkpoint_bytes(config, checkpoint) / 1e6}
    stated = ("name", "family", "description", "paper", "source", "license", "recipe")
    return dict(
        **{key: getattr(preset, key) for key in stated},
        weights=weights,
        params=config.num_params,
        gmacs=config.num_macs / 1e9,
        activation_mib=config.activation_bytes() / 2**20,
        tokens=config.num_tokens,
        config=config.to_dict(),
    )


def register_presets(path: str | Path) -> list[str]:
    """Adds the presets of your own TOML file, which has the format of those in `presets/`; returns their names.

    `list_presets`, `preset_info`, `from_preset` and training then know them, in worker processes, too. The command line reads
    the files that the environment variable `VIT_KERAS_PRESETS` lists.

    Args:
        path: The file. Registered again after a change, it is read again.

    Raises:
        StorageError: The file can't be read.
        InvalidArgumentError: It is not TOML, a key is unknown or missing, a preset is not a legal ViT, states a wrong number
            of parameters, or has the name of another preset.

    Example:
        >>> text = '''
        ... [family]
        ... description = "Our models"
        ... paper = ""
        ... license = "Apache-2.0"
        ... recipe = "from_scratch"
        ... [vit_ours_patch8_32]
        ... source = "ours"
        ... params = 63_616
        ... image_size = 32
        ... patch_size = 8
        ... hidden_dim = 64
        ... num_layers = 1
        ... num_heads = 2
        ... mlp_dim = 256
        ... '''
        >>> import tempfile
        >>> from unittest import mock
        >>> from vit_keras import list_presets
        >>> with tempfile.TemporaryDirectory() as folder, mock.patch.dict(os.environ):
        ...     _ = (Path(folder) / "ours.toml").write_text(text)
        ...     print(register_presets(Path(folder) / "ours.toml"), list_presets("*ours*"))
        ['vit_ours_patch8_32'] ['vit_ours_patch8_32']
    """
    file = str(Path(path).expanduser().resolve())
    listed = [each for each in os.environ.get(_REGISTERED_FILES, "").split(os.pathsep) if each]
    registered = os.pathsep.join(listed if file in listed else [*listed, file])
    names = [preset.name for preset in _read_registered(file)]
    _read_presets.cache_clear()
    _read_presets(registered)
    os.environ[_REGISTERED_FILES] = registered
    return names


class _Presets(MutableMapping[str, Preset]):
    """Presets by name; the family file of a shipped one is parsed when one of its presets is asked for."""

    def __init__(self) -> None:
        self._presets: dict[str, Preset | None] = {}  # None until it is parsed
        self._unread: dict[str, tuple[str, str]] = {}  # name of the file and text, by preset

    def add_file(self, name: str, text: str) -> None:
        """Adds the presets of a shipped file without parsing it."""
        for header in _HEADER.findall(text):
            if header != "family":
                self._presets[header], self._unread[header] = None, (name, text)

    def __getitem__(self, name: str) -> Preset:
        preset = self._presets[name]
        if preset is None:
            for each in read_family(*self._unread[name]):
                if self._presets[each.name] is None:
                    self._presets[each.name] = each
            preset = self._presets[name]
        return preset  # type: ignore[return-value]

    def __setitem__(self, name: str, preset: Preset) -> None:
        self._presets[name] = preset

    def __delitem__(self, name: str) -> None:
        del self._presets[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._presets)

    def __len__(self) -> int:
        return len(self._presets)

    def __contains__(self, name: object) -> bool:
        return name in self._presets


def all_presets() -> MutableMapping[str, Preset]:
    """Returns every preset by name: the shipped ones and the registered."""
    return _read_presets(os.environ.get(_REGISTERED_FILES, ""))


@functools.cache
def _read_presets(registered: str) -> MutableMapping[str, Preset]:
    """Returns the shipped presets and those of the registered files, which are separated as in `PATH`."""
    found = _Presets()
    for file in _shipped_files():
        found.add_file(f"presets/{file.name}", file.read_text("utf-8"))
    for path in filter(None, registered.split(os.pathsep)):
        for preset in _read_registered(path):
            if preset.name in found:
                raise InvalidArgumentError(
                    f"The family {preset.family!r} has a preset {preset.name!r}, and so has the family "
                    f"{found[preset.name].family!r}: choose another name."
                )
            found[preset.name] = preset
    return found


def _shipped_files() -> list[Path]:
    packaged = Path(__file__).parents[1] / "_presets"  # in a wheel
    folder = packaged if packaged.is_dir() else Path(__file__).parents[2] / "presets"  # in a checkout
    return sorted(folder.glob("*.toml"))


def _read_registered(path: str) -> list[Preset]:
    try:
        presets = read_family(path, Path(path).read_text("utf-8"))
    except OSError as error:
        raise StorageError(f"{path}: the file of presets can't be read ({error}). Check its path.") from error
    except UnicodeDecodeError as error:
        raise InvalidArgumentError(f"{path} is not UTF-8 text ({error}). Save it as UTF-8.") from error
    for preset in presets:
        if preset.params != preset.config.num_params:
            raise InvalidArgumentError(
                f"{path} [{preset.name}]: params = {preset.params}, but the config has {preset.config.num_params} parameters "
                "without a head. Correct params, or the config."
            )
    return presets
