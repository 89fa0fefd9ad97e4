"""The report of a pre-training run: losses, measures of the features, pictures of what the method does, and what to do next."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from vit_keras.config import ViTConfig
from vit_keras.distributed.cluster import is_chief, process_count
from vit_keras.distributed.shared_errors import share_errors
from vit_keras.pretraining.advice import next_commands, warn_if_short
from vit_keras.reporting import notebook
from vit_keras.reporting.pages import cards, more, page, section, tag, text
from vit_keras.reporting.pictures import Picture
from vit_keras.runtime.files import atomic_file, write_text
from vit_keras.training.callbacks.history import read_history
from vit_keras.training.memory import model_cost
from vit_keras.training.runs.directory import RunDirectory
from vit_keras.training.runs.facts import count_noun, format_count, images_per_second
from vit_keras.training.runs.report import curves_section, run_section
from vit_keras.version import __version__

PICTURES = "reconstructions.png"
SECONDS = 60.0  # between two reports while a run trains
_MAX_LINES = 50  # of a list; all are in run.json
_CARDS = (  # name in the results, label, and format
    ("val_loss", "loss of the held-out images", ".4f"),
    ("knn_accuracy", "kNN accuracy of the features", ".1%"),
    ("knn_accuracy_before", "before pre-training", ".1%"),
    ("feature_rank", "effective rank of the features", ".1f"),
)


def write_report(run: RunDirectory, record: Mapping[str, Any], history: Sequence[Mapping[str, float]]) -> None:
    """Writes the page of a run that is finished or still trains; an existing file is replaced.

    Args:
        run: The run directory, whose pictures are shown.
        record: The contents of `run.json`, with "about", sentences on the method.
        history: One row of metrics per epoch.
    """
    data, recipe = record["data"], record["recipe"]
    is_finished = record["status"] == "finished"
    cost = model_cost(ViTConfig.from_dict(record["config"]), num_classes=0)
    speed = images_per_second(record, history)
    results = record.get("results") or (dict(history[-1]) if history else {})
    items = [("", f"{results[name]:{form}}", label) for name, label, form in _CARDS if name in results]
    items += [
        ("", f"{data['images']['train']:,}", "training images, without their labels"),
        ("", format_count(cost["parameters"]), "parameters of the encoder"),
    ]
    if speed is not None:
        items.append(("", f"{speed:,.0f}", "training images per second"))
    body = (
        cards(items)
        + (_next(run.path, record, epochs=len(history)) if is_finished else "")
        + _about(record)
        + curves_section(history)
        + _pictures(run)
        + _list("Images", [*data["decisions"], *data["notes"]])
        + run_section(record, cost, speed)
        + tag("footer", tag("p", f"vit_keras {text(__version__)}"), "soft")
        + "\n"
    )
    done = count_noun(len(history), "epoch") + ("" if is_finished else f" of {recipe['epochs']:,}, still training")
    below = f"{done} of the method {recipe['method']}, {record['precision']} on {record['environment']['backend']}"
    heading = f"{data['name']}: pre-training"
    write_text(run.report, page(heading, heading=heading, below=below, body=body))


def _next(run: Path, record: Mapping[str, Any], *, epochs: int) -> str:
    lines = "".join(tag("p", tag("code", text(command))) for command in next_commands(run))
    warning = warn_if_short(record, epochs=epochs)
    return section("Next", tag("div", lines + (tag("p", text(warning)) if warning else ""), "panel"))


def _about(record: Mapping[str, Any]) -> str:
    return _list("Method", record.get("about", ()))


def _list(heading: str, lines: Sequence[str]) -> str:
    items = "".join(tag("li", text(line)) for line in lines[:_MAX_LINES])
    shown = tag("ul", items) + more(len(lines) - _MAX_LINES)
    return section(heading, tag("div", shown, "panel")) if items else ""


def _pictures(run: RunDirectory) -> str:
    path = run.figures / PICTURES
    if not path.is_file():
        return ""
    shown = notebook.wide_picture(path, style="aspect-ratio:auto; max-width:60rem")
    return section("Held-out images", tag("div", shown, "panel"))


def draw_pictures(pictures: Mapping[str, np.ndarray], out: Path) -> None:
    """Writes a PNG with a row per image and a column per caption; an existing file is replaced.

    Args:
        pictures: By caption: `(images, height, width, channels)`, uint8.
        out: The file.
    """
    rows = len(next(iter(pictures.values())))
    figure = Picture(1.6 * len(pictures), 1.6 * rows + 0.3)
    panels = np.asarray(figure.subplots(rows, len(pictures), squeeze=False))
    for column, (caption, images) in enumerate(pictures.items()):
        panels[0, column].set_title(caption, fontsize=8)
        for row, image in enumerate(images):
            axes = panels[row, column]
            axes.imshow(image.squeeze(), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            axes.axis("off")
    with atomic_file(out) as path:
        figure.savefig(path, format="png", dpi=120)


class LiveReport(keras.callbacks.Callback):
    """Writes the report of a run while it trains: after the first epoch, and then at most once a minute.

    Args:
        run: The run directory.
        images: The images to show, the same ones each time: `(images, height, width, channels)`, uint8.
        seconds: Between two reports.
    """

    def __init__(self, run: RunDirectory, images: np.ndarray, *, seconds: float = SECONDS) -> None:
        super().__init__()
        self.run, self.images, self.seconds = run, images, seconds
        self._written: float | None = None

    def get_state(self) -> dict[str, Any]:
        """Returns an empty state, since a resumed run writes a new report."""
        return {}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Does nothing."""

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Writes the report of the epochs before, whose metrics are saved by now."""
        if epoch == 0:
            return
        with share_errors():
            is_due = self._written is None or time.monotonic() - self._written >= self.seconds
            if is_chief() and is_due:
                self._write()

    def _write(self) -> None:
        if process_count() == 1:  # the model of several processes needs all of them
            self.draw()
        write_report(self.run, self.run.read(), read_history(self.run.metrics))
        self._written = time.monotonic()

    def draw(self) -> None:
        """Draws what the method does with the images, as the model is now."""
        pictures = self.model.pictures(self.images)
        if pictures:
            self.run.figures.mkdir(exist_ok=True)
            draw_pictures(pictures, self.run.figures / PICTURES)
