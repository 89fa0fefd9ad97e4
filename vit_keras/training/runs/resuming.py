"""Checks that a resumed run has the options, the data and the versions it was started with."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, fields
from typing import Any

from vit_keras.config import ViTConfig
from vit_keras.data import ImageData
from vit_keras.data.tables.options import TableOptions
from vit_keras.distributed.agreement import list_differences
from vit_keras.errors import ClassLayoutError, CorruptFileError, ResumeError
from vit_keras.training.runs.directory import RunDirectory
from vit_keras.validation import list_words

_SHOWN = 5  # differences in an error
_SAME = ("data", "precision", "recipe", "config", "base", "teacher", "folds")  # of `run.json`, may not change
_TEXT = ("decisions", "notes", "source", "expected")  # fields of these that do not change the result
_NEW_FIELDS = {"seed", "task", "target_mean", "target_scale"}
"""Fields of options, data and recipe that earlier versions did not write, because they had only one value."""
_CONFIG_DEFAULTS = {
    field.name: json.loads(json.dumps(field.default)) for field in fields(ViTConfig) if field.default is not MISSING
}
"""What the fields of a model's config were before an earlier version knew them."""


def recorded_options(run: RunDirectory, command: str, known: Iterable[str]) -> dict[str, Any]:
    """Returns the options that a run of a command was started with; `known` are those of this version."""
    record = run.read()
    if record["command"] != command:
        raise ResumeError(
            f"{run.path} is a run of `vit-keras {record['command']}`; resume it with `vit-keras {record['command']} --resume --run-dir "
            f"{run.path}`."
        )
    options: dict[str, Any] = record["options"]
    unknown = sorted(options.keys() - set(known))
    if unknown:
        raise CorruptFileError(f"{run.record_file}: unknown options {list_words(unknown)}.")
    unnamed = [name for name in ("model", "data") if options.get(name) is None]
    if unnamed:
        raise ResumeError(
            f"{run.path} was started in Python with {' and '.join(f'a {name} object' for name in unnamed)}: resume it there, with the same "
            f"call and resume=True."
        )
    return options


def find_load_keywords(options: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the keywords of `vk.data.load` for the task and for tables among a run's options.

    >>> find_load_keywords({"label_column": ["age"], "task": None, "epochs": 3})
    {'label_column': ['age']}
    """
    return {each.name: options[each.name] for each in fields(TableOptions) if options.get(each.name) is not None}


def load_as_recorded(load: Callable[[tuple[str, ...] | None], ImageData], run: RunDirectory) -> ImageData:
    """Returns a run's data with the classes in the order of its model."""
    data = run.read().get("data")
    names = data.get("class_names") if isinstance(data, dict) else None
    if not names:
        return load(None)
    try:
        return load(tuple(names))
    except ClassLayoutError:  # the classes changed, which `check_same_run` reports
        return load(None)


def check_options(run: RunDirectory, options: Mapping[str, Any]) -> None:
    """Raises `ResumeError` where a run was started with other values of the options; those of one side only are compared later."""
    before, now = run.read()["options"], json.loads(json.dumps(options))
    both = {name for name in before.keys() & now.keys() if before[name] is not None}
    changed = _list_differences({name: before[name] for name in both}, {name: now[name] for name in both})
    if changed:
        raise ResumeError(
            f"{run.path} was started with other options ({'; '.join(changed)}); resume with those, or start a new run."
        )


def check_same_run(run: RunDirectory, previous: Mapping[str, Any], record: Mapping[str, Any], *, force: bool) -> None:
    """Raises `ResumeError`, naming each field, where resuming would train something else than was started."""
    record = json.loads(json.dumps(record))  # as it will be read
    before, now = ({key: _drop_text(each.get(key)) for key in _SAME} for each in (previous, record))
    if before["base"] is None:  # `train` did not write it in earlier versions
        now["base"] = None
    before = {key: _add_new_fields(value, now[key]) for key, value in before.items()}
    if isinstance(before["config"], dict):
        before["config"] = {**_CONFIG_DEFAULTS, **before["config"]}
    changed = _list_differences(before, now)
    if changed:
        more = f"; and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
        raise ResumeError(
            f"{run.path} cannot be resumed, because it was started with something else: {'; '.join(changed[:_SHOWN])}{more}. Resume with "
            "what it was started with, or start a new run."
        )
    before, now = (
        {**each["environment"]["versions"], "backend": each["environment"]["backend"]} for each in (previous, record)
    )
    changed = _list_differences(before, now)
    if changed and not force:
        raise ResumeError(
            f"{run.path} would not end in the same result bit for bit: {'; '.join(changed)}. Resume with the versions and the backend "
            "(KERAS_BACKEND) it was started with, or accept a result that may differ in the last digits with --force-resume."
        )


def _drop_text(value: Any) -> Any:
    return {key: each for key, each in value.items() if key not in _TEXT} if isinstance(value, dict) else value


def _add_new_fields(before: Any, now: Any) -> Any:
    """Returns what an earlier version wrote, with the fields it did not know as they are now."""
    if not isinstance(before, dict) or not isinstance(now, dict):
        return before
    return {**{key: now[key] for key in _NEW_FIELDS & now.keys()}, **before}


def _list_differences(before: Any, now: Any) -> list[str]:
    return [f"{name}: {then!r:.200} then, {after!r:.200} now" for name, then, after in list_differences(before, now)]
