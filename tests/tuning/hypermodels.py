"""A space of tiny models, and one whose trials go wrong, where the processes that train can import them."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np

from vit_keras.data import ImageData, Split
from vit_keras.tuning.space.dimensions import Choice, FloatRange
from vit_keras.tuning.space.hypermodel import ViTHyperModel

IMAGE, CLASSES = 16, 3
TINY: dict[str, Any] = {
    "num_layers": [1, 2], "num_heads": [1, 2], "head_dim": [8], "mlp_ratio": [2], "patch_size": [4], "stem": ["patch"],
    "pooling": ["mean"], "num_registers": [0], "stochastic_depth_rate": [0.1], "learning_rate": FloatRange(1e-4, 1e-2, log=True),
    "weight_decay": FloatRange(1e-3, 0.3, log=True), "augmentation": ["light"], "batch_size": [16],
}  # fmt: skip


class Tiny(ViTHyperModel):
    def __init__(self, **space: Any) -> None:
        super().__init__(IMAGE, CLASSES, space={**TINY, **space})


class Nasty(Tiny):
    """Trials that do what "fault" says; the default is none."""

    def __init__(self, *faults: str) -> None:
        super().__init__(num_layers=[1], num_heads=[2])  # one shape to compile
        self.space = self.space.add(fault=Choice(("none", *faults)))
        self._drawn = 0

    def default_values(self) -> dict[str, Any]:
        faults = self.space.dimensions["fault"].values
        return {**super().default_values(), "fault": "none" if "none" in faults else faults[0]}

    def draw(self, rng: np.random.Generator) -> dict[str, Any]:
        """One fault after the other, so that a few trials meet all of them."""
        faults = self.space.dimensions["fault"].values
        self._drawn += 1
        return {**super().draw(rng), "fault": faults[self._drawn % len(faults)]}

    def make_recipe(self, values: Any, **kwargs: Any) -> Any:  # asked for in every trial, of a shape that was seen, too
        match values["fault"]:
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "hang":
                time.sleep(1000)
            case "memory":
                raise MemoryError("Unable to allocate 5 TiB")
            case "bug":
                raise RuntimeError("no luck")
        return super().make_recipe(values, **kwargs)


def split(count: int, side: int = IMAGE) -> Split:
    labels = np.arange(count) % CLASSES
    pixels = np.random.default_rng(count).integers(0, 80, (count, side, side, 3)) + 60 * labels[:, None, None, None]
    return Split(pixels.astype("uint8"), labels.astype("int32"))


def images(side: int = IMAGE) -> ImageData:
    """Images that a tiny model learns in a few epochs."""
    splits = {"train": split(96, side), "validation": split(48, side), "test": split(48, side)}
    return ImageData(name="shades", class_names=("dark", "gray", "light"), splits=splits, batch_size=16)


class OwnBuild(Tiny):
    """A hypermodel that compiles with an optimizer of its own."""

    def build(self, hp: Any) -> Any:
        model = super().build(hp)
        model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
        return model


class AsksForMore(Tiny):
    """A hypermodel whose `build` has a hyperparameter that its space has not."""

    def build(self, hp: Any) -> Any:
        hp.Float("dropout", 0.0, 0.5)
        return super().build(hp)


class OwnFit(Tiny):
    """A hypermodel that says what it was asked for instead of training."""

    def fit(self, hp: Any, model: Any, data: Any, **kwargs: Any) -> Any:
        return {"val_accuracy": 0.5 + hp.get("num_heads") / 10, "epochs": kwargs["epochs"]}


class Patient(Tiny):
    """Trials wait until there is a file "go" beside the run directory, so that a test decides when they train."""

    def make_recipe(self, values: Any, **kwargs: Any) -> Any:
        go = Path(os.environ["GO"])
        while (go.parent / "run" / "journal.jsonl").exists() and not go.exists():
            time.sleep(0.1)
        return super().make_recipe(values, **kwargs)
