"""Writes `docs/architecture.md`: the folders, their purpose, and the import rules of pyproject.toml.

python scripts/write_architecture.py
"""

import ast
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "architecture.md"
HEAD = """# Where things are

Written by `scripts/write_architecture.py`. A folder has at most 16 files; the first line of each file states its purpose. Paths are in
`vit_keras/`. `CONTRIBUTING.md` says how to add a preset, a layer, a weight source, a recipe, an export format or a command.

## Where is ...?

| question | open, in this order |
|---|---|
| the architecture, from pixels to logits | `models/architecture.py` (the layers and their order), `models/vit.py` (config to model and back) |
| the preprocessing, to the pixel | `data/images/preprocess.py`; before it `data/images/decode.py` |
| the fine-tuning defaults, each with its reason | `training/recipes/planning.py` (which recipe), `training/recipes/recipes.toml` (its values), `training/recipes/sizing.py` (fitted to model and data) |
| the choice of the attention kernel | `layers/kernels/attention_kernel.py` |
| how a step uses the cores of a CPU | `models/batch_parts.py` (the batch in parts), `runtime/tensorflow_threads.py` (the threads) |
| resuming a run | `training/runs/fitting.py` (continues a training), `training/checkpoints/state.py` (what a checkpoint has), `training/runs/resuming.py` (what may not change) |
| the ONNX writer | `exporting/onnx/writer.py` (the graph), `exporting/onnx/blocks.py` (its blocks), `exporting/onnx/onnx_format.py` (the file) |
| reading a checkpoint | `weights/loading.py`, `weights/planning.py` (which weight from which tensor), `weights/mappings/tables.py` (how a library's names are described) |
| a preset from name to model | `presets/catalog.py`, `zoo/from_preset.py` |
| the order of images and their augmentation | `data/dataset/pipeline.py`, `data/augment/augmentation.py` |
| what a training run does, step by step | `training/trainer.py`, `training/runs/session.py` |
| what a search proposes next | `tuning/strategy/policy.py`, `tuning/space/search_space.py` |
| a page of the local server | `serving/handler.py`, `serving/model_service.py` |
| a command | `cli/main.py`, then its file in `cli/commands/` |

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
