"""One resumable pre-training run: trains the method, saves the encoder, measures its features, writes the report."""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from vit_keras.data import EncodedSplit, Preprocessing, Split
from vit_keras.data.dataset.joining import join_splits
from vit_keras.distributed.arrays import copy_weights
from vit_keras.distributed.cluster import broadcast, is_chief
from vit_keras.distributed.devices import devices_in_use
from vit_keras.distributed.shared_errors import share_errors
from vit_keras.models.vit import model_config
from vit_keras.pretraining.base.objective import PretrainingModel
from vit_keras.pretraining.collapse import CollapseMonitor
from vit_keras.pretraining.model_card import encoder_card_notes
from vit_keras.pretraining.recipe import PretrainingRecipe
from vit_keras.pretraining.report import LiveReport, write_report
from vit_keras.reporting import notebook
from vit_keras.runtime.precision import dtype_policy
from vit_keras.training.checkpoints.store import CheckpointStore
from vit_keras.training.recipes.compiling import make_optimizer
from vit_keras.training.runs.base_session import BaseSession, History
from vit_keras.training.runs.directory import RunDirectory
from vit_keras.zoo.from_preset import from_preset
from vit_keras.zoo.rebuild import rebuild
from vit_keras.zoo.save_preset import save_preset, write_card

_SHOWN = 8  # held-out images in the report
_MEASUREMENTS = 20  # of the features while a run trains
_MEASURED = 1000  # images whose features are measured
_FINISHING = 1024  # images by which an encoder is adapted at the end


@dataclass(frozen=True, kw_only=True, eq=False)
class PretrainingResult:
    """The result of a pre-training run.

    Args:
        run_directory: The folder with the encoder, metrics and report.
        encoder: The saved encoder, a model without a head, in float32.
        record: The contents of `run.json`.
        history: One row of metrics per epoch.
    """

    run_directory: Path
    encoder: keras.Model = field(repr=False)
    record: dict[str, Any] = field(repr=False)
    history: History = field(repr=False)

    def _repr_html_(self) -> str:
        run = RunDirectory(self.run_directory)
        drawn = "".join(notebook.wide_picture(path) for path in sorted(run.figures.glob("*.png")))
        results = [f"{name.replace('_', ' ')} {value:.4g}" for name, value in self.record["results"].items()]
        return notebook.title(f"{run.path}: report in {run.report}") + notebook.lines(results) + drawn


@dataclass(frozen=True, kw_only=True, eq=False)
class PretrainingSession(BaseSession[PretrainingRecipe, PretrainingResult]):
    """One pre-training run."""

    base: keras.Model  # the model to start from; a copy of it is trained
    make_objective: Callable[[keras.Model, PretrainingRecipe], PretrainingModel]  # of an encoder
    preprocessing: Preprocessing | None  # saved with the encoder
    _is_weighted = False

    def _execute(self, record: dict[str, Any], *, resume: bool, force: bool) -> PretrainingResult:
        is_trained = broadcast(self.run.model.exists())
        history = self._read_history() if is_trained else self._train(record, resume=resume)
        self._announce("measuring the features")
        encoder = self._open_encoder()
        results = {name: value for name, value in history[-1].items() if name.startswith("val_")}
        results |= self._monitor(encoder).measure()
        before = self._monitor(copy_encoder(self.base)).measure()
        results |= {f"{name}_before": value for name, value in before.items()}
        record = {**record, "status": "finished", "results": results, "seconds": self._seconds(history)}
        with share_errors():
            if is_chief():
                self._announce("drawing the report")
                write_report(self.run, record, history)
                write_card(self.run.model, notes=encoder_card_notes(record))
                self.run.write(record)
                CheckpointStore(self.run.checkpoints).clear()
        return PretrainingResult(run_directory=self.run.path, encoder=encoder, record=record, history=history)

    def _train(self, record: dict[str, Any], *, resume: bool) -> History:
        """Trains, and saves the encoder and pictures of what the method learned."""

        def make_model(recipe: PretrainingRecipe) -> PretrainingModel:
            model = self.make_objective(copy_encoder(self.base), recipe)
            model.compile(optimizer=make_optimizer(recipe))
            return model

        model, history = self._fit(record, make_model, resume=resume)
        if devices_in_use().needs_full_batches:
            trained, model = model, make_model(self.recipe)
            copy_weights(trained, model)
        self._announce("saving the encoder")
        with share_errors():
            if is_chief():
                self._save(model)
        return history

    def _save(self, model: PretrainingModel) -> None:
        batches = max(1, _FINISHING // self.data.batch_size)
        model.finish(self.data.training_batches(epochs=1).take(batches))
        live = LiveReport(self.run, self._shown_images())
        live.set_model(model)
        live.draw()
        rate = model_config(self.base).stochastic_depth_rate
        encoder = rebuild(model.encoder, stochastic_depth_rate=rate)
        save_preset(encoder, self.run.model, preprocessing=self.preprocessing)

    def _reopen(self, record: dict[str, Any]) -> PretrainingResult:
        return PretrainingResult(
            run_directory=self.run.path, encoder=self._open_encoder(), record=record, history=self._read_history()
        )

    def _open_encoder(self) -> keras.Model:
        with dtype_policy("float32"):
            return from_preset(self.run.model)

    def _list_callbacks(self, model: keras.Model) -> Sequence[keras.callbacks.Callback]:
        every = max(1, self.recipe.epochs // _MEASUREMENTS)
        return [self._monitor(model.encoder, every=every), LiveReport(self.run, self._shown_images()), *self.callbacks]

    def _monitor(self, encoder: keras.Model, *, every: int = 1) -> CollapseMonitor:
        images = self._measured_images
        quiet = math.ceil(self.recipe.warmup_rate * self.recipe.epochs)
        labels = images.labels if self.data.task == "single_label" else None
        return CollapseMonitor(encoder, images, labels=labels, every=every, quiet=quiet, count=_MEASURED)

    @functools.cached_property
    def _measured_images(self) -> Split | EncodedSplit:
        """The held-out images, and where they are few training images, too: the methods don't learn their labels."""
        held_out, train = self.data.splits["validation"], self.data.splits["train"]
        missing = _MEASURED - len(held_out)
        if missing <= 0:
            return held_out
        others = np.random.default_rng(self.data.seed).permutation(len(train))[:missing]
        return join_splits([held_out, train.subset(others)])

    def _shown_images(self) -> np.ndarray:
        held_out = self.data.splits["validation"]
        return np.stack([held_out.image(index) for index in range(min(_SHOWN, len(held_out)))])


def copy_encoder(model: keras.Model) -> keras.Model:
    """Returns a copy of a model without its head and without stochastic depth, which would hide a part of it from the method."""
    return rebuild(model, num_classes=0, stochastic_depth_rate=0.0)
