"""Writes `docs/architecture.md`: the rooms, what each is for, and which may import which, as pyproject.toml holds it.

python scripts/write_architecture.py
"""

import ast
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "architecture.md"
HEAD = """# Where things are

Written by `scripts/write_architecture.py`. A room is a folder; no room holds more than 16 files, and the first line of each file says what it is for.

| you want | go to |
|---|---|
| the architecture, from pixels to logits | `models/architecture.py` (the layers and their order), `models/vit.py` |
| a new preset | a table in `presets/*.toml`; no Python |
| a layer | `layers/`, a file each |
| a weight source | a table in `weights/mappings/`; what its config.json says in `weights/settings/` |
| a recipe | `training/recipes/` |
| fine-tuning defaults, each with its reason | `training/planning.py` |
| a callback | `training/callbacks/` |
| preprocessing | `data/images/preprocess.py` |
| a data source | `data/sources/` |
| what is searched, and how | `tuning/space/`, `tuning/strategy/` |
| a format to write | `weights/writers/` |
| a command | `cli/` |

## What may import what

Each row may import the rows below it; rooms in one row know nothing of each other. `lint-imports` holds it.

```text
"""


def first_line(file: Path) -> str:
    """Returns the first line of a module's docstring."""
    return (ast.get_docstring(ast.parse(file.read_text("utf-8"))) or "").splitlines()[0]


def architecture() -> str:
    """Returns the page."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    lines = [HEAD + "\n".join(layers), "```", "", "## Rooms", ""]
    for package in sorted((ROOT / "vit_keras").rglob("__init__.py")):
        room = package.parent.relative_to(ROOT / "vit_keras")
        if room.parts:
            files = sorted(file.stem for file in package.parent.glob("*.py") if file.name != "__init__.py")
            lines += [f"- `{room}/` {first_line(package)} *{', '.join(files)}*"]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(architecture(), "utf-8")
