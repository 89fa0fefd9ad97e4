"""`run.toml`: the options of a run in the words of the command line, to start another run with `--config`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vit_keras.runtime.files import write_text

RUN_CONFIG = "run.toml"
_WORDS = {"data": "source", "changes": "set"}  # options whose word on the command line is another


def write_run_config(run: Path, command: str, options: Mapping[str, Any]) -> None:
    """Writes the options of a run to its directory; those that the run chooses are left out."""
    write_text(run / RUN_CONFIG, format_run_config(command, options))


def format_run_config(command: str, options: Mapping[str, Any]) -> str:
    """Returns the options as TOML.

    >>> print(format_run_config("finetune", {"data": "photos", "batch_size": 32, "limit": None, "changes": {"patience": 3}}))
    # The options of this run; `vit-keras finetune --config FILE` starts another one with them, and typed options win.
    command = "finetune"
    source = "photos"
    batch-size = 32
    <BLANKLINE>
    [set]
    patience = 3
    <BLANKLINE>
    """
    lines = [
        f"# The options of this run; `vit-keras {command} --config FILE` starts another one with them, and typed options win.",
        f"command = {_format(command)}",
    ]
    tables = []
    for name, value in options.items():
        word = _WORDS.get(name, name.replace("_", "-"))
        if isinstance(value, Mapping):
            fields = [f"{_key(field)} = {_format(each)}" for field, each in value.items() if each is not None]
            tables += ["", f"[{word}]", *fields] if fields else []
        elif value is not None and value is not False and value not in ("", "auto"):
            lines.append(f"{word} = {_format(value)}")
    return "\n".join([*lines, *tables]) + "\n"


def _format(value: Any) -> str:
    """Returns a TOML value; JSON's strings, numbers, lists and truth values are also TOML's."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(key)} = {_format(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_format, value)) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(name: str) -> str:
    return json.dumps(name) if not name.isidentifier() or not name.isascii() else name
