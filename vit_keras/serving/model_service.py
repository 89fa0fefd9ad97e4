"""What the server does with an image: decode it, run the model, and say what it found; no HTTP."""

import base64
import functools
import io
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, TypeVar

import keras
import numpy as np

from vit_keras.data.class_names import are_numbers
from vit_keras.data.images.preprocess import to_image
from vit_keras.data.images.signatures import readable_formats
from vit_keras.data.tasks import describe_count
from vit_keras.errors import InvalidArgumentError, VitKerasError
from vit_keras.evaluation.predict import check_head, describe_outputs, to_probabilities
from vit_keras.explain.block_maps import BlockMapper, BlockMaps
from vit_keras.models.vit import model_config
from vit_keras.serving.limits import MAX_BYTES, MAX_PIXELS, MAX_WAITING, MODEL_SECONDS
from vit_keras.serving.model_thread import SIZES, ModelThread
from vit_keras.serving.request_error import RequestError
from vit_keras.serving.upload_decoder import UploadDecoder
from vit_keras.version import __version__
from vit_keras.zoo.load_model import OpenModel

_WARMED = SIZES[:2]  # compiled before the first request; on a large model the others would take long
_DIGITS = 4  # of a value of a map

_Result = TypeVar("_Result")


class ModelService:
    """Classifies images with one model, for many threads at once.

    Args:
        opened: The model.
        name: What the page calls it.
        report: The run's report as HTML, if there is one.

    Raises:
        InvalidArgumentError: The model has no head, or takes packed images.
    """

    def __init__(self, opened: OpenModel, name: str, *, report: bytes | None = None) -> None:
        check_head(opened.model, f"{name}: this model")
        if model_config(opened.model).max_num_patches is not None:
            raise InvalidArgumentError(
                f"{name}: this model takes packed images of any size, which are not served. Save a plain one, such as that of "
                "vk.rebuild(model, max_num_patches=None, image_size=224)."
            )
        self._opened, self.name, self.report = opened, name, report
        self._task = opened.task or "single_label"
        self._places = threading.BoundedSemaphore(MAX_WAITING)
        self._decoder = UploadDecoder(opened.preprocessing)
        self._thread = ModelThread(self._run)
        self._mapper: BlockMapper | None = None
        self._counts = {"classified": 0, "failed": 0}
        self._counting = threading.Lock()

    def warm_up(self) -> None:
        """Runs the model on black images, so that the first request does not wait for a compiler."""
        shape = self._opened.preprocessing.image_shape
        for size in _WARMED:
            self._thread.call(functools.partial(self._run, np.zeros((size, *shape), "uint8"))).result()

    def predict(self, content: bytes, *, name: str, top: int | None = 5) -> dict[str, Any]:
        """Returns the prediction of an image file as `vit-keras predict --json` prints it, with the milliseconds that it took.

        Raises `RequestError` where too many images wait, the image can't be read, or the model failed.
        """
        with self._place():
            start = time.perf_counter()
            pixels = self._decode(content, name)
            decoded = time.perf_counter()
            outputs = self._wait(self._thread.submit(pixels))
            done = time.perf_counter()
        if not np.isfinite(outputs).all():
            raise RequestError(500, f"{name}: the model's outputs are NaN or infinite.")
        self._count("classified")
        prediction = describe_outputs(name, outputs, self._opened, top=top)
        spent = {"decoding": decoded - start, "model": done - decoded}
        return {**prediction.to_dict(), "milliseconds": {key: round(1e3 * value, 1) for key, value in spent.items()}}

    def explain(self, content: bytes, *, name: str) -> dict[str, Any]:
        """Returns the attention and the rollout of an image per block, with the image as the model sees it, a `data:` URL.

        Raises `RequestError` as `predict` does.
        """
        with self._place():
            pixels = self._decode(content, name)
            maps = self._wait(self._thread.call(functools.partial(self._explain, pixels)))
        if not np.isfinite([maps.attention, maps.rollout]).all():
            raise RequestError(500, f"{name}: the model's attention is NaN or infinite.")
        file = io.BytesIO()
        to_image(pixels).save(file, "png")
        return {
            "file": name,
            "image": f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode('ascii')}",
            "query": maps.query,
            "attention": _round(maps.attention),
            "rollout": _round(maps.rollout),
        }

    def describe(self) -> dict[str, Any]:
        """Returns facts about the model and the limits of requests."""
        config = model_config(self._opened.model)
        height, width = self._opened.preprocessing.image_size
        names, count = self._opened.class_names, self._opened.model.count_params()
        return {
            "model": self.name,
            "summary": f"{describe_count(self._task, len(names))}; images of {height}x{width} px; {count:,} parameters; "
            f"on {keras.backend.backend()}",
            "task": self._task,
            "class_names": list(names),
            "named": not are_numbers(names),
            "image_size": [height, width],
            "channels": config.channels,
            "parameters": count,
            "blocks": config.num_layers,
            "backend": keras.backend.backend(),
            "version": __version__,
            "report": self.report is not None,
            "formats": list(readable_formats()),
            "max_bytes": MAX_BYTES,
            "max_pixels": MAX_PIXELS,
        }

    @property
    def counts(self) -> dict[str, int]:
        """How many images were classified, and how many could not be read."""
        with self._counting:
            return dict(self._counts)

    def end(self) -> None:
        """Answers what waits, and ends the threads and processes."""
        self._thread.end()
        self._decoder.end()

    def _run(self, images: np.ndarray) -> np.ndarray:
        outputs = np.asarray(self._opened.model.predict_on_batch(images))
        return to_probabilities(self._opened.model, outputs, task=self._task)

    def _explain(self, pixels: np.ndarray) -> BlockMaps:
        """Runs in the model's thread; the first image waits for the compiler, which most who only classify never need."""
        if self._mapper is None:
            self._mapper = BlockMapper(self._opened.model)
        return self._mapper(pixels)

    @contextmanager
    def _place(self) -> Iterator[None]:
        """Holds one of the places in the queue; raises `RequestError` where none is free."""
        if not self._places.acquire(blocking=False):
            raise RequestError(
                503, f"{MAX_WAITING} images are waiting already; try again in a second.", {"Retry-After": "1"}
            )
        try:
            yield
        finally:
            self._places.release()

    def _decode(self, content: bytes, name: str) -> np.ndarray:
        try:
            return self._decoder.decode(content, name)
        except VitKerasError as error:
            self._count("failed")
            raise RequestError(422, str(error)) from error

    def _wait(self, future: "Future[_Result]") -> _Result:
        """Returns a result of the model's thread; raises `RequestError` where there is none."""
        try:
            return future.result(MODEL_SECONDS)
        except TimeoutError as error:
            future.cancel()
            raise RequestError(
                503, f"The model took longer than {MODEL_SECONDS:.0f} seconds.", {"Retry-After": "60"}
            ) from error
        except VitKerasError as error:
            raise RequestError(422, str(error)) from error
        except Exception as error:
            raise RequestError(500, f"The model failed: {type(error).__name__}: {error}") from error

    def _count(self, outcome: str) -> None:
        with self._counting:
            self._counts[outcome] += 1


def _round(maps: np.ndarray) -> list[Any]:
    """Returns an array as lists of numbers with few digits."""
    return [[[float(f"{value:.{_DIGITS}g}") for value in row] for row in each] for each in maps.tolist()]
