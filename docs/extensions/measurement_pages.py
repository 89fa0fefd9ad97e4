"""The measured figures: what the committed JSON of each benchmark says, with its command and machine."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"
COLUMNS, ROWS = 8, 40  # of a table here; the file has all
_NOT_FIGURES = ("benchmark", "command", "date", "environment")


def make_text() -> str:
    """Returns the figures in Markdown, a section for each file of results."""
    purposes = read_purposes((BENCHMARKS / "README.md").read_text("utf-8"))
    return "\n".join(_make_section(path, purposes) for path in find_results())


def find_results() -> list[Path]:
    """Returns the files of results, by benchmark and processor."""
    return sorted(BENCHMARKS.glob("results/*/*.json"), key=lambda path: (path.stem, path.parent.name))


def read_purposes(readme: str) -> dict[str, str]:
    """Returns what each script measures, by its name, from the table of benchmarks/README.md."""
    found = {}
    for line in readme.splitlines():
        if line.startswith("| `") and ".py" in line:
            command, purpose = line.strip("| ").split(" | ", 1)
            found |= dict.fromkeys(re.findall(r"(\w+)\.py", command), purpose)
    return found


def _make_section(path: Path, purposes: Mapping[str, str]) -> str:
    result = json.loads(path.read_text("utf-8"))
    machine = result["environment"]
    script = re.findall(r"(\w+)\.py", result["command"])[0]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    purpose = purposes[script]
    lines = [
        f"## {path.stem} ({path.parent.name})",
        "",
        purpose[0].upper() + purpose[1:] + ".",
        "",
        "```sh",
        result["command"],
        "```",
        "",
        f"{result['date']}, {machine['processor']}, {machine['cores']} cores, Python {machine['python']}, {versions}. "
        f"{{download}}`{path.name} </../{path.relative_to(ROOT)}>`",
        "",
    ]
    figures = {key: value for key, value in result.items() if key not in _NOT_FIGURES}
    return "\n".join([*lines, *_format_tables("", figures)])


def _format_tables(title: str, value: Mapping[str, Any]) -> Iterator[str]:
    """Yields tables of a mapping: its numbers, then one for each list or mapping of mappings inside."""
    plain = dict(_list_numbers(value))
    if plain:
        yield from _table(["figure", title], [[name, text] for name, text in plain.items()])
    for key, inside in value.items():
        name = f"{title} {key}".strip()
        if _is_rows(inside):
            yield from _rows_table(name, [("", row) for row in inside])
        elif isinstance(inside, Mapping) and inside and all(isinstance(row, Mapping) for row in inside.values()):
            if any(isinstance(deep, Mapping) for row in inside.values() for deep in row.values()):
                yield from _deep_table(name, inside)
            else:
                yield from _rows_table(name, list(inside.items()))
        elif isinstance(inside, Mapping):
            yield from _format_tables(name, _keep_deep(inside))


def _deep_table(title: str, columns: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yields a table of mappings that have mappings inside: a column for each while they fit, else a table for each."""
    if len(columns) > COLUMNS:
        for label, row in columns.items():
            yield from _format_tables(f"{title}: {label}", row)
        return
    numbers = {label: dict(_list_numbers(row)) for label, row in columns.items()}
    names = dict.fromkeys(name for found in numbers.values() for name in found)
    yield from _table(
        [title, *columns], [[name, *(found.get(name, "") for found in numbers.values())] for name in names]
    )
    for label, row in columns.items():
        nested = {
            key: deep for key, deep in row.items() if isinstance(deep, Mapping) and any(map(_is_deep, deep.values()))
        }
        yield from _format_tables(f"{title}: {label}", {key: _keep_deep(deep) for key, deep in nested.items()})


def _is_deep(value: Any) -> bool:
    return isinstance(value, Mapping) or _is_rows(value)


def _keep_deep(value: Mapping[str, Any]) -> dict[str, Any]:
    return {key: each for key, each in value.items() if _is_deep(each)}


def _list_numbers(value: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yields the names and texts of numbers and words, those of mappings without mappings too."""
    for key, inside in value.items():
        if isinstance(inside, Mapping):
            scalars = {name: each for name, each in inside.items() if not isinstance(each, Mapping | list)}
            yield from ((f"{key}: {name}", _format(each)) for name, each in scalars.items())
        elif not isinstance(inside, list) or (
            inside and not isinstance(inside[0], Mapping | list) and len(inside) <= COLUMNS
        ):
            yield key, _format(inside)


def _is_rows(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, Mapping) for row in value)


def _rows_table(title: str, rows: Sequence[tuple[str, Mapping[str, Any]]]) -> Iterator[str]:
    """Yields a table with a line for each row, and a column for each number that most rows have."""
    flat = [(label, dict(_list_numbers(row))) for label, row in rows]
    columns = list(dict.fromkeys(name for _, row in flat for name in row))[:COLUMNS]
    body = [[label, *(row.get(name, "") for name in columns)] for label, row in flat[:ROWS]]
    labeled = any(label for label, _ in flat)
    yield from _table([title, *columns] if labeled else columns, body if labeled else [row[1:] for row in body])


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield from (f"| {' | '.join(map(_escape, cells))} |" for cells in (heads, ["---"] * len(heads), *rows))
    yield ""


def _escape(text: str) -> str:
    text = text.partition("\n")[0]  # of the message of an error
    return text if text == "---" else re.sub(r"([|*_\[\]<>`])", r"\\\1", text)


def _format(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float | list):
        return "" if value is None else str(value)
    if isinstance(value, list):
        return ", ".join(map(_format, value))
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"
