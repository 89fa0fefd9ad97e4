"""Writes `docs/architecture.md`: the folders, their purpose, and the import rules of pyproject.toml.

python scripts/write_architecture.py
"""

import ast
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "architecture.md"
HEAD = """# Where things are

Written by `scripts/write_architecture.py`. A folder has at most 16 files; the first line of each file states its purpose.

| to find or add | see |
|---|---|
| the architecture, from pixels to logits | `models/architecture.py` (the layers and their order), `models/vit.py` (config to model and back) |
| a new preset | a table in `presets/*.toml`; no Python |
| a layer | `layers/`, one file each |
| a weight source | a table in `weights/mappings/`; the reader of its config.json in `weights/settings/` |
| a recipe | a table in `training/recipes/recipes.toml` |
| fine-tuning defaults, each with its reason | `training/recipes/planning.py` |
| a callback | `training/callbacks/` |
| preprocessing | `data/images/preprocess.py` |
| a data source | `data/sources/` |
| search spaces and strategies | `tuning/space/`, `tuning/strategy/` |
| an export format | `exporting/`: one file each, its line in `formats.py`; weights for other libraries in `weights/writers/` |
| the local page | `serving/` |
| a command | `cli/commands/` |

## Import rules

Each row may import the rows below it; modules of one row are independent. `lint-imports` checks it, as it does inside the folders below.

"""


def first_line(file: Path) -> str:
    """Returns the first line of a module's docstring."""
    return (ast.get_docstring(ast.parse(file.read_text("utf-8"))) or "").splitlines()[0]


def format_row(row: str) -> str:
    """Returns the modules of a row of a contract, without the mark of optional ones."""
    return ", ".join(name.strip(" ()") for name in row.split("|"))


def draw_layers(rows: list[str]) -> str:
    """Returns a diagram of the rows of a contract, which GitHub draws."""
    boxes = [f'    row{number}["{format_row(row)}"]' for number, row in enumerate(rows)]
    arrows = [f"    row{number} --> row{number + 1}" for number in range(len(rows) - 1)]
    return "\n".join(["```mermaid", "flowchart TD", *boxes, *arrows, "```"])


def architecture() -> str:
    """Returns the page."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    layers = {contract["containers"][0]: contract["layers"] for contract in contracts if contract["type"] == "layers"}
    lines = [HEAD + draw_layers(layers.pop("vit_keras")), "", "| inside | may import from left to right |", "|---|---|"]
    lines += [
        f"| `{room.removeprefix('vit_keras.')}/` | {' > '.join(map(format_row, rows))} |"
        for room, rows in layers.items()
    ]
    lines += ["", "## Folders", ""]
    for package in sorted((ROOT / "vit_keras").rglob("__init__.py")):
        folder = package.parent.relative_to(ROOT / "vit_keras")
        if folder.parts:
            files = sorted(file.stem for file in package.parent.glob("*.py") if file.name != "__init__.py")
            lines += [f"- `{folder}/` {first_line(package)} *{', '.join(files)}*"]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(architecture(), "utf-8")
