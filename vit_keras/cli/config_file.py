"""`--config FILE`: options from a TOML file, in the words of the command line."""

import json
import tomllib
from pathlib import Path
from typing import Any

from typer import Context

from vit_keras.errors import CorruptFileError, InvalidArgumentError, StorageError
from vit_keras.validation import closest, list_words

_NOT_IN_FILES = ("config", "help", "as_json", "as_csv", "debug", "quiet", "overwrite", "resume", "force_resume")


def read_config(context: Context, config: Path | None) -> Path | None:
    """Makes the values of a TOML file the defaults of a command's options; `command` in it must be the name of the command.

    Keys are the flags without the dashes in front (`batch-size`, or `batch_size`), and the arguments in lower case (`source`). What
    is given with `--set FIELD=VALUE` is a table, `[set]`.
    """
    if config is None or context.resilient_parsing:
        return config
    values = _read_file(config)
    command = values.pop("command", context.info_name)
    if command != context.info_name:
        raise InvalidArgumentError(f"{config} is for another command: vit-keras {command} --config {config}.")
    parameters = {
        word: each for each in context.command.params if each.name not in _NOT_IN_FILES for word in _words(each)
    }
    defaults = {}
    for key, value in values.items():
        word = key.replace("_", "-")
        if word not in parameters:
            raise InvalidArgumentError(
                f"{config}: {context.info_name} has no option {key!r}; the closest are {list_words(closest(word, list(parameters)))}."
            )
        typed = _as_typed(value)
        takes_several = getattr(parameters[word], "multiple", False) or parameters[word].nargs == -1
        is_one_of_several = takes_several and not isinstance(typed, list)
        defaults[str(parameters[word].name)] = [typed] if is_one_of_several else typed
    context.default_map = {**(context.default_map or {}), **defaults}
    return config


def _read_file(config: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(config.read_text("utf-8"))
    except OSError as error:
        raise StorageError(f"--config {config}: could not be read ({error.strerror or error}).") from error
    except ValueError as error:
        raise CorruptFileError(f"--config {config}: not a TOML file ({error}).") from error


def _words(parameter: Any) -> list[str]:
    """Returns a parameter's keys in a file."""
    if parameter.param_type_name == "argument":
        return [str(parameter.metavar or parameter.name).lower()]
    return [str(flag).lstrip("-") for flag in parameter.opts]


def _as_typed(value: Any) -> Any:
    """Returns a value as the command line would give it: a table as FIELD=VALUE, dates and the like as text."""
    if isinstance(value, dict):
        return [f"{field}={json.dumps(each)}" for field, each in value.items()]
    return value if isinstance(value, bool | int | float | str | list) else str(value)
