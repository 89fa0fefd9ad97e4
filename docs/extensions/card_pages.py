"""Model cards of the weights in the package: the README.md of each preset directory, and what was measured with the weights."""

import json
import re
from pathlib import Path
from typing import Any

import vit_keras as vk

ROOT = Path(__file__).parents[2]
TAG = "drawings"
SETS = {
    "digits": "scikit-learn's digits",
    "fashion": "Fashion-MNIST",
    "twemoji": "groups of the emoji style that they never saw",
    "icons": "categories of IconPark's icons",
}
LICENSES = """## Who drew the training images

The weights are under the Apache License 2.0. `scripts/build_drawings.py` renders the drawings, and `scripts/train_embedded_weights.py` trains.
"""


def make_text() -> str:
    """Returns the cards in Markdown, a section each."""
    names = [name for name in vk.list_presets() if TAG in vk.load_preset(name).weights]
    folder = ROOT / "vit_keras" / "presets" / "embedded"
    attribution = (folder / "DRAWINGS-ATTRIBUTION.md").read_text("utf-8").partition("\n\n")[2]
    table = attribution[attribution.index("| style") :]
    return "\n".join([*map(_make_card, names), LICENSES, table])


def _make_card(name: str) -> str:
    directory = vk.load_preset(name).weights[TAG].directory
    assert directory is not None  # noqa: S101 - the tag is that of files in the package
    card = (directory / "README.md").read_text("utf-8").split("\n---\n", 1)[1]
    lower = re.sub(r"^(#+ )", r"#\1", card, flags=re.MULTILINE)
    side = name.rpartition("_")[2]
    found = sorted((ROOT / "benchmarks" / "results").glob(f"*/embedded_weights_{side}.json"))
    measured = [_format_measured(json.loads(path.read_text("utf-8"))) for path in found]
    return "\n".join([lower.strip(), "", *(measured or ["Fine-tuning from these weights was not measured yet.", ""])])


def _format_measured(result: dict[str, Any]) -> str:
    machine = result["environment"]
    rows = [
        f"| {SETS[cell['set']]} | {cell['shots']} | {cell['finetuned']['accuracy']:.1%} | {cell['from_scratch']['accuracy']:.1%} "
        f"| {cell['fewer_errors']:.0%} |"
        for cell in result["cells"]
    ]
    return "\n".join(
        [
            f"Fine-tuned, one seed, {machine['processor']}, {machine['cores']} cores, {result['date']}:",
            "",
            "| images | per class | from these weights | from random weights | fewer errors |",
            "|---|---|---|---|---|",
            *rows,
            "",
        ]
    )
