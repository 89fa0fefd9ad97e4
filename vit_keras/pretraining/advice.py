"""What a run says at its end: what to do next, and whether it was long enough to pay off. The numbers are those measured so far."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MEASURED_VIEWS = 730_000
"""Images times epochs below which pre-training by MAE was not measured to pay off: the run with few labels below."""
MEASURED = (
    "on Fashion-MNIST, fine-tuned after MAE of 740,000 images seen, 20 labels per class gave 5 points more than training from scratch; with 600 "
    "per class, 200,000 to 820,000 images seen gave 3 to 5 points less than scratch in the same time"
)


def next_commands(run: Path) -> list[str]:
    """Returns the command lines that use a pre-trained encoder."""
    word = shlex.quote(str(run))
    return [
        f"vit-keras finetune {word} YOUR_LABELED_FOLDER",
        f"vit-keras evaluate {word} YOUR_LABELED_FOLDER --features",
    ]


def warn_if_short(record: Mapping[str, Any], *, epochs: int) -> str | None:
    """Returns a sentence where a run from random weights was shorter than those that were measured to pay off; else None."""
    images = record["data"]["images"]["train"]
    starts = [value for what, value, _ in record.get("choices", ()) if what == "weights"]
    is_measured = record["recipe"]["method"] == "mae" and starts in ([], ["random"])
    if not is_measured or images * epochs > MEASURED_VIEWS:
        return None
    return (
        f"{images:,} images x {epochs:,} epochs is a short run: training from scratch is likely as good ({MEASURED}; one seed). Compare "
        "with vit-keras train, or pre-train longer (--epochs) or on more images."
    )
