"""One side of `speed.py`: a model of one library, which takes a step for each input line and prints its time.

    PYTHON speed_side.py LIBRARY SETTING PRESET KIND DTYPE BATCH_SIZE NUM_LAYERS

It runs in any Python with the library, with or without this package. Pixels are in memory, as the library expects them; a training step is
AdamW on the cross-entropy of 1,000 classes. The first output line describes the side, or why it cannot run.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # a waiting side must not spin
os.environ.setdefault("KMP_BLOCKTIME", "0")

SHAPES = {
    "vit_small_patch16_224": {"hidden_dim": 384, "num_heads": 6, "mlp_dim": 1536},
    "vit_base_patch16_224": {"hidden_dim": 768, "num_heads": 12, "mlp_dim": 3072},
}
ONE_CORE = "one core each"
"""XLA off, and as many of TensorFlow's operations at the same time as there are cores, each on one."""
SETTINGS = {
    "vit_keras_zoo": ("XLA off", "XLA on", ONE_CORE),
    "keras_hub": ("XLA off", "XLA on", ONE_CORE),
    "timm": ("eager", "compiled"),
    "transformers": ("eager", "compiled"),
    "vit-keras": ("XLA off", "XLA on", ONE_CORE),
}
"""Settings of each library, of which the fastest is used; the first one takes the least time to compile."""
CLASSES, SIDE = 1000, 224
Step = Callable[[], object]


def list_settings(library: str, backend: str) -> list[str]:
    """Returns the settings of a library that a backend has."""
    return [setting for setting in SETTINGS[library] if backend == "tensorflow" or setting != ONE_CORE]


def choose_threads(setting: str) -> None:
    """Sets TensorFlow's numbers of threads, before it starts."""
    if setting == ONE_CORE:
        import tensorflow as tf

        tf.config.threading.set_inter_op_parallelism_threads(len(os.sched_getaffinity(0)))
        tf.config.threading.set_intra_op_parallelism_threads(1)


def keras_step(model: Any, optimizer: Any, kind: str, batch_size: int, setting: str) -> Step:
    """Returns a step of a Keras model, with the AdamW that its users have."""
    import keras
    import numpy as np

    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (batch_size, *model.input_shape[1:])).astype("float32")
    labels = rng.integers(0, model.output_shape[-1], batch_size)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=optimizer, loss=loss, jit_compile=setting == "XLA on")
    if kind == "training":
        return lambda: model.train_on_batch(images, labels)
    return lambda: model.predict_on_batch(images)


def vit_keras_zoo(
    preset: str, kind: str, dtype: str, batch_size: int, num_layers: int, setting: str, *, side: int = SIDE, recomputes: bool = False
) -> Step:  # fmt: skip
    """This package."""
    import keras

    import vit_keras as vk

    keras.config.set_dtype_policy("mixed_bfloat16" if dtype == "bfloat16" else "float32")
    remat = "block" if recomputes else "none"
    model = vk.from_preset(preset, num_classes=CLASSES, num_layers=num_layers, image_size=side, remat=remat)
    return keras_step(model, vk.training.AdamW(1e-4), kind, batch_size, setting)


def keras_hub(
    preset: str, kind: str, dtype: str, batch_size: int, num_layers: int, setting: str, *, side: int = SIDE, recomputes: bool = False
) -> Step:  # fmt: skip
    """KerasHub's ViT; Keras' own scope recomputes its layers."""
    import keras
    from keras_hub.models import ViTBackbone, ViTImageClassifier

    keras.config.set_dtype_policy("mixed_bfloat16" if dtype == "bfloat16" else "float32")
    with keras.RematScope("full" if recomputes else None):
        backbone = ViTBackbone(image_shape=(side, side, 3), patch_size=16, num_layers=num_layers, **SHAPES[preset])
    model = ViTImageClassifier(backbone, num_classes=CLASSES, preprocessor=None)
    return keras_step(model, keras.optimizers.AdamW(1e-4), kind, batch_size, setting)


def vit_keras_peer(preset: str, kind: str, dtype: str, batch_size: int, num_layers: int, setting: str) -> Step:
    """The package vit-keras on PyPI."""
    import keras

    from vit_keras import vit

    shape = SHAPES[preset]
    keras.config.set_dtype_policy("mixed_bfloat16" if dtype == "bfloat16" else "float32")
    model = vit.build_model(
        image_size=SIDE, patch_size=16, num_layers=num_layers, hidden_size=shape["hidden_dim"], num_heads=shape["num_heads"],
        mlp_dim=shape["mlp_dim"], name="vit", classes=CLASSES, activation="linear", include_top=True, representation_size=None,
    )  # fmt: skip
    return keras_step(model, keras.optimizers.AdamW(1e-4), kind, batch_size, setting)


def torch_step(
    model: Any, kind: str, dtype: str, batch_size: int, setting: str, logits: Callable[[Any], Any], place: str = "cpu", side: int = SIDE,
    channels: int = 3, classes: int = CLASSES,
) -> Step:  # fmt: skip
    """Returns a step of a torch model, with torch's fastest AdamW."""
    import contextlib

    import torch

    torch.manual_seed(0)
    images = torch.rand(batch_size, channels, side, side, device=place)
    labels = torch.randint(0, classes, (batch_size,), device=place)
    model = model.to(place).train(kind == "training")
    forward = torch.compile(model) if setting == "compiled" else model
    half = torch.autocast(place, torch.bfloat16) if dtype == "bfloat16" else contextlib.nullcontext()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4, fused=True)

    def train() -> float:
        with half:
            loss = torch.nn.functional.cross_entropy(logits(forward(images)).float(), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return float(loss)

    def infer() -> object:
        with torch.inference_mode(), half:
            return logits(forward(images)).float().cpu().numpy()

    return train if kind == "training" else infer


def timm(
    preset: str, kind: str, dtype: str, batch_size: int, num_layers: int, setting: str, *, side: int = SIDE, recomputes: bool = False
) -> Step:  # fmt: skip
    """Timm's VisionTransformer."""
    import timm as library

    model = library.create_model(preset, num_classes=CLASSES, depth=num_layers, img_size=side)
    model.set_grad_checkpointing(recomputes)
    return torch_step(model, kind, dtype, batch_size, setting, lambda output: output, side=side)


def transformers(preset: str, kind: str, dtype: str, batch_size: int, num_layers: int, setting: str) -> Step:
    """Transformers' ViTForImageClassification, scaled dot product attention."""
    from transformers import ViTConfig, ViTForImageClassification

    shape = SHAPES[preset]
    config = ViTConfig(
        hidden_size=shape["hidden_dim"], num_attention_heads=shape["num_heads"], intermediate_size=shape["mlp_dim"],
        num_hidden_layers=num_layers, num_labels=CLASSES, attn_implementation="sdpa",
    )  # fmt: skip
    model = ViTForImageClassification(config)
    return torch_step(model, kind, dtype, batch_size, setting, lambda output: output.logits)


LIBRARIES: dict[str, Callable[..., Step]] = {
    "vit_keras_zoo": vit_keras_zoo,
    "keras_hub": keras_hub,
    "timm": timm,
    "transformers": transformers,
    "vit-keras": vit_keras_peer,
}
_DISTRIBUTIONS = {"vit_keras_zoo": "vit-keras-zoo", "keras_hub": "keras-hub"}
_OLDEST = {"keras_hub": (0, 20), "timm": (1, 0), "transformers": (4, 50)}
"""Minimum versions; older ones are slower."""


def version_of(library: str) -> str:
    """Returns the installed version; raises RuntimeError if it is too old."""
    from importlib.metadata import version

    found, name = version(_DISTRIBUTIONS.get(library, library)), _DISTRIBUTIONS.get(library, library)
    oldest = _OLDEST.get(library, (0, 0))
    if tuple(int(part) for part in found.split(".")[:2]) < oldest:
        raise RuntimeError(
            f"{name} {found} is too old to be compared with: pip install '{name}>={oldest[0]}.{oldest[1]}'"
        )
    return found


def serve(library: str, build: Callable[[], Step]) -> None:
    """Prints the facts of a library's step, or why it cannot run; then takes a step for each input line and prints its seconds."""
    answers, sys.stdout = sys.stdout, sys.stderr  # libraries print to stdout, where only answers may go

    def answer(**said: Any) -> None:
        print(json.dumps(said), file=answers, flush=True)

    started = time.perf_counter()
    try:
        version = version_of(library)
        step = build()
        step()
        found = {"version": version, "first_step": time.perf_counter() - started}
    except Exception as error:
        answer(failed=f"{type(error).__name__}: {error}"[:300])
        return
    answer(**found)
    for _ in sys.stdin:
        start = time.perf_counter()
        step()
        answer(seconds=time.perf_counter() - start)


def main(library: str, setting: str, preset: str, kind: str, dtype: str, batch_size: int, num_layers: int) -> None:
    """Answers each input line."""
    choose_threads(setting)
    serve(library, lambda: LIBRARIES[library](preset, kind, dtype, batch_size, num_layers, setting))


if __name__ == "__main__":
    main(*sys.argv[1:6], *map(int, sys.argv[6:8]))
