"""The layout of `--help`: options in groups, examples, exit codes, and the commands of a group by topic."""

import inspect
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from typer.core import TyperCommand, TyperGroup

WIDTH = 110
"""Largest width of a help page, in columns."""
DATA, MODEL, TRAINING, DEVICES, SEARCH, SERVER, OUTPUT = (
    "Data", "Model", "Training", "Devices", "Search", "Server", "Output",
)  # fmt: skip
"""Groups of options, in the order they are shown; options without one come last."""
EXIT_CODES = (
    "0 done, 1 a bug, 2 wrong arguments, 3 data or images, 4 a damaged or unsuitable model file, 5 training diverged, "
    "6 a path exists or can't be used, 7 out of memory, 75 interrupted and resumable, 130 interrupted"
)
_OTHER, _LAST = "Options", ""  # headings of options and of commands without a group
_EXAMPLES = "Examples:"


def split_help(text: str | None) -> tuple[str, list[str]]:
    """Returns a docstring's text, and the lines of its section "Examples".

    >>> split_help('''Train a model.
    ...
    ... Examples:
    ...     vit-keras train photos/
    ... ''')
    ('Train a model.', ['vit-keras train photos/'])
    """
    body, _, examples = inspect.cleandoc(text or "").partition(_EXAMPLES)
    return body.strip(), [line for line in inspect.cleandoc(examples).splitlines() if line.strip()]


class _Page:
    """How a command and a group of commands show their help."""

    help: str | None

    def get_params(self: Any, context: Any) -> list[Any]:
        """Returns the parameters, which leave values as they are that need no conversion."""
        params: list[Any] = super().get_params(context)  # type: ignore[misc]
        for each in params:
            if "process_value" not in vars(each):
                each.process_value = partial(_process_value, each, each.process_value)
        return params

    def collect_usage_pieces(self: Any, context: Any) -> list[str]:
        """Returns the usage line's words: required arguments plain, others in brackets."""
        pieces = ["[OPTIONS]"]
        for each in self.get_params(context):
            if each.param_type_name == "argument" and not each.hidden:
                name = each.metavar or each.name.upper()
                pieces.append((name if each.required else f"[{name}]") + ("..." if each.nargs != 1 else ""))
        return pieces

    def format_help_text(self: Any, context: Any, formatter: Any) -> None:
        """Writes the text without its examples."""
        with _indented(formatter):
            formatter.write_text(split_help(self.help)[0])

    def format_options(self: Any, context: Any, formatter: Any) -> None:
        """Writes arguments, then the options by group."""
        params = self.get_params(context)
        arguments = [each for each in params if each.param_type_name == "argument" and not each.hidden]
        _write_section(formatter, "Arguments", [(each.metavar or each.name.upper(), each.help) for each in arguments])
        options = [each for each in params if each.param_type_name == "option"]
        for group in (DATA, MODEL, TRAINING, DEVICES, SEARCH, SERVER, OUTPUT, _OTHER):
            chosen = (each for each in options if (getattr(each, "rich_help_panel", None) or _OTHER) == group)
            records = [record for each in chosen if (record := each.get_help_record(context)) is not None]
            _write_section(formatter, group, records)

    def format_epilog(self: Any, context: Any, formatter: Any) -> None:
        """Writes the examples and the exit codes."""
        _write_examples(formatter, "Examples", self.help)
        _write_exit_codes(formatter)


class HelpCommand(_Page, TyperCommand):
    """A command with such a help page."""


class HelpGroup(_Page, TyperGroup):
    """A group of commands, which its help page shows by topic, below the commands to start with."""

    def collect_usage_pieces(self, context: Any) -> list[str]:
        """Returns the usage line's words."""
        return ["COMMAND ..."]

    def format_help_text(self, context: Any, formatter: Any) -> None:
        """Writes the text, and its examples below it."""
        super().format_help_text(context, formatter)
        _write_examples(formatter, "Start with", self.help)

    def format_options(self, context: Any, formatter: Any) -> None:
        """Writes the commands by topic, then the options."""
        topics: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(context):
            command = self.get_command(context, name)
            if command is not None and not command.hidden:
                first = split_help(command.help)[0].split("\n\n")[0].replace("\n", " ")
                topic = getattr(command, "rich_help_panel", None)
                topics.setdefault(topic if isinstance(topic, str) else _LAST, []).append((name, first))
        for topic, rows in topics.items():
            _write_section(formatter, topic or "Commands", rows)
        super().format_options(context, formatter)

    def format_epilog(self, context: Any, formatter: Any) -> None:
        """Writes the exit codes."""
        _write_exit_codes(formatter)


def _process_value(param: Any, convert: Callable[[Any, Any], Any], context: Any, value: Any) -> Any:
    """Converts a value as Typer does; a word, and what was not given, without Typer's conversion, which imports pydantic."""
    annotation = getattr(getattr(param, "type_descriptor", None), "annotation", None)
    is_plain = (value is None and not param.required) or (annotation is str and isinstance(value, str))
    if not is_plain or param.multiple or param.nargs != 1:
        return convert(context, value)
    return value if param.callback is None else param.callback(context, param, value)


def _indented(formatter: Any) -> Any:
    formatter.write_paragraph()
    return formatter.indentation()


def _write_section(formatter: Any, heading: str, rows: Iterable[tuple[str, str | None]]) -> None:
    rows = [(name, text or "") for name, text in rows]
    if rows:
        with formatter.section(heading):
            formatter.write_dl(rows, col_max=26)


def _write_examples(formatter: Any, heading: str, text: str | None) -> None:
    """Writes a docstring's examples, not wrapped, so that they can be copied."""
    lines = split_help(text)[1]
    if lines:
        with formatter.section(heading):
            for line in lines:
                formatter.write(f"{'':{formatter.current_indent}}{line}\n")


def _write_exit_codes(formatter: Any) -> None:
    with formatter.section("Exit codes"):
        formatter.write_text(EXIT_CODES)
