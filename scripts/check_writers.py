"""Checks that timm and transformers load what we write for them, and compute our logits.

    pip install timm torch torchvision transformers keras && pip install --no-deps --editable .
    KERAS_BACKEND=torch python scripts/check_writers.py [REFERENCE...] [--random COUNT] [--seed SEED]

Models of every reference in `tests/golden/timm`, and of COUNT random configs per library, get random weights, are written, and loaded
by the library; images go through its own preprocessing, as the directory describes it. Prints the largest difference of the outputs
relative to the largest output, and how many configs were refused; exits with 1 where one is above `TOLERANCE`.
"""

import argparse
import collections
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch  # before Keras, which loads another libstdc++
import transformers

import keras  # isort: skip
import numpy as np
from PIL import Image

from vit_keras import ViTConfig, model_config, vit, weights
from vit_keras.data import Preprocessing
from vit_keras.errors import InvalidArgumentError
from vit_keras.weights.verify import read_reference
from vit_keras.weights.writers.huggingface_config import huggingface_model
from vit_keras.weights.writers.timm_config import timm_config

GOLDEN = Path(__file__).parents[1] / "tests" / "golden" / "timm"
TOLERANCE = 1e-5
_SIZES = {"image_size": 32, "patch_size": 8, "hidden_dim": 24, "num_layers": 2, "num_heads": 2, "mlp_dim": 48}
_MAP = {"pooling": "map"}
_ROTARY = {"rotary_embedding": "axial", "rotary_temperature": 1e4, "qkv_bias": "query_value"}
_SCALED = {"layer_scale": 0.1}
_PERCEPTION = {
    "stem_norm": True, "patch_bias": False, "norm_epsilon": 1e-5, "rotary_embedding": "axial", "rotary_temperature": 1e4,
    "rotary_order": "xy", "rotary_reference": (3, 5), "rotary_offset": 1.0,
}  # fmt: skip
# One config of each kind of model that the libraries have; random changes lead to the others, and to unsupported ones.
_KINDS: list[dict[str, Any]] = [
    {},
    {"pooling": "mean", "final_norm": "after"},
    {**_MAP, "class_token": False},
    {**_MAP, "num_registers": 2, "map_includes_prefix": False},
    {"distillation_token": True},
    {"stem_norm": True, "patch_bias": False, "norm_epsilon": 1e-5, "activation": "quick_gelu"},
    {"parallel_block": True},
    {**_SCALED, "gated_mlp": True, "activation": "silu"},
    {**_SCALED, "pooling": "token_and_mean"},
    {**_SCALED, "pooling": "token_and_mean", "num_registers": 3, "position_on_prefix": False},
    {**_ROTARY},
    {**_ROTARY, "gated_mlp": True, "activation": "silu", "mlp_inner_norm": True, "pooling": "mean"},
    {**_ROTARY, **_MAP},
    {"rotary_embedding": "mixed", "rotary_temperature": 10.0},
    {**_SCALED, "rotary_embedding": "centered", "position_embedding": "none", "norm_epsilon": 1e-5, "num_registers": 4},
    {"pre_logits_dim": 12},
    {
        "norm": "rms",
        "norm_epsilon": 1e-5,
        "patch_norm": True,
        "projection_bias": False,
        "qkv_bias": "none",
        "gated_mlp": True,
        "activation": "silu",
        "class_token": False,
        "pooling": "mean",
    },
    {**_SCALED, "relative_position": "table", "position_embedding": "none", "qkv_bias": "query_value"},
    {**_SCALED, "relative_position": "mlp", "position_embedding": "none", "class_token": False, "pooling": "mean"},
    {**_SCALED, "block_norm": "after"},
    {**_SCALED, "differential_attention": True},
    {**_SCALED, "final_norm": "none"},
    {"stem_norm": True, "patch_bias": False, "norm_epsilon": 1e-5, "pooling": "mean", "final_norm": "none"},
    {**_PERCEPTION, "pooling": "mean", "final_norm": "none"},
    {**_PERCEPTION, **_MAP, "num_map_heads": 8, "map_mlp_dim": 96},
]
_CHANGES: dict[str, list[Any]] = {
    "image_size": [(32, 32), (16, 64), (24, 40), (37, 35)],
    "partial_patches": ["refuse", "crop"],
    "mlp_dim": [48, 72, 96, 50, 64],
    "channels": [1, 3, 4],
    "pixel_mean": [(0.5,), (0.2,), (0.485,)],
    "pixel_std": [(0.5,), (0.3,)],
    "stem": ["patch", "conv"],
    "patch_bias": [True, False],
    "class_token": [True, False],
    "distillation_token": [True, False],
    "num_registers": [0, 1, 3],
    "position_embedding": ["learned", "none", "sincos2d"],
    "position_on_prefix": [True, False],
    "rotary_embedding": ["none", "axial", "mixed", "centered"],
    "rotary_temperature": [100.0, 50.0, 1e4],
    "rotary_order": ["yx", "xy"],
    "rotary_reference": [None, (3, 5), (4, 4)],
    "rotary_offset": [0.0, 1.0],
    "stem_norm": [True, False],
    "qkv_bias": ["all", "query_value", "none"],
    "qk_norm": [True, False],
    "relative_position": ["none", "table", "mlp"],
    "relative_position_shared": [True, False],
    "relative_position_dim": [128, 8],
    "patch_norm": [True, False],
    "projection_bias": [True, False],
    "block_norm": ["before", "after"],
    "norm": ["layer", "rms"],
    "differential_attention": [True, False],
    "parallel_block": [True, False],
    "gated_mlp": [True, False],
    "mlp_inner_norm": [True, False],
    "attention_inner_norm": [True, False],
    "pre_logits_dim": [None, 12, 24],
    "pooling": ["token", "mean", "token_and_mean", "map"],
    "map_includes_prefix": [True, False],
    "num_map_heads": [None, 4],
    "map_mlp_dim": [None, 50],
    "final_norm": ["before", "after", "none"],
    "norm_epsilon": [1e-6, 1e-5, 1e-12, 0.05],
    "activation": ["gelu", "gelu_tanh", "quick_gelu", "silu"],
    "layer_scale": [None, 0.1],
}
_PREPROCESSINGS = [
    {},
    {"crop": 0.9},
    {"crop": 0.875, "interpolation": "bilinear"},
    {"crop_mode": "squash"},
    {"crop_mode": "squash", "crop": 0.95},
    {"interpolation": "nearest"},
    {"crop_mode": "border"},
]


@dataclass(frozen=True)
class Outcome:
    """The difference of a written model from ours.

    Args:
        difference: Largest difference of the outputs, relative to the largest output.
        resized: The same for an image that is resized; None where the directory does not say how.
        kind: The other library's class.
    """

    difference: float
    resized: float | None
    kind: str


def random_configs(seed: int) -> Iterator[tuple[ViTConfig, int | None, dict[str, Any]]]:
    """Yields legal configs forever, each with a number of classes or None, and fields of a `Preprocessing`.

    Args:
        seed: Random seed.
    """
    random = np.random.default_rng(seed)
    while True:
        fields = {**_SIZES, **_KINDS[random.integers(len(_KINDS))]}
        for name in random.choice(list(_CHANGES), size=random.integers(4), replace=False):
            fields[name] = _CHANGES[name][random.integers(len(_CHANGES[name]))]
        try:
            config = ViTConfig(**fields)
        except InvalidArgumentError:
            continue
        yield config, [None, 1, 5][random.integers(3)], _PREPROCESSINGS[random.integers(len(_PREPROCESSINGS))]


def compare_with_timm(model: keras.Model, *, preprocessing: Preprocessing | None) -> Outcome:
    """Returns the difference of timm's model from ours."""
    with tempfile.TemporaryDirectory() as folder:
        written = weights.write(
            read_weights(model), model_config(model), Path(folder) / "written", to="timm", preprocessing=preprocessing
        )
        theirs = timm.create_model(f"local-dir:{written}", pretrained=True).eval()
    data = timm.data.resolve_model_data_config(theirs)
    transform = timm.data.create_transform(**data, is_training=False)

    def run(pixels: np.ndarray) -> np.ndarray:
        mean, std = (torch.tensor(data[name]) for name in ("mean", "std"))
        return theirs(((torch.from_numpy(pixels).float() / 255 - mean) / std).permute(0, 3, 1, 2)).numpy()

    def run_image(image: Image.Image) -> np.ndarray:
        return theirs(transform(image)[None]).numpy()

    return _compare(model, run, run_image, preprocessing, type(theirs).__name__)


def compare_with_transformers(model: keras.Model, *, preprocessing: Preprocessing | None) -> Outcome:
    """Returns the difference of transformers' model from ours."""
    config = model_config(model)
    with tempfile.TemporaryDirectory() as folder:
        written = weights.write(
            read_weights(model), config, Path(folder) / "written", to="huggingface", preprocessing=preprocessing
        )
        kind = transformers.AutoConfig.from_pretrained(written).architectures[0]
        is_classifier = "ForImageClassification" in kind
        opened: Any = transformers.AutoModelForImageClassification if is_classifier else transformers.AutoModel
        if kind.endswith("WithProjection"):  # no Auto class loads it
            opened = getattr(transformers, kind)
        theirs = opened.from_pretrained(written).eval()
        assert type(theirs).__name__ == kind, f"{type(theirs).__name__} is not the {kind} that was written"  # noqa: S101
        has_processor = (written / "preprocessor_config.json").is_file()
        processor = transformers.AutoImageProcessor.from_pretrained(written) if has_processor else None

    def run(pixels: np.ndarray) -> np.ndarray:
        if processor is not None:
            mean, std = (torch.tensor(values) for values in (processor.image_mean, processor.image_std))
        else:
            mean, std = (torch.tensor(values) for values in (config.pixel_mean, config.pixel_std))
        return feature(theirs(((torch.from_numpy(pixels).float() / 255 - mean) / std).permute(0, 3, 1, 2)))

    def run_image(image: Image.Image) -> np.ndarray:
        return feature(theirs(**processor(images=image, return_tensors="pt")))

    def feature(output: Any) -> np.ndarray:
        if "logits" in output:
            return output.logits.numpy()
        if "image_embeds" in output:
            return output.image_embeds.numpy()
        if config.pooling == "token_and_mean":
            tokens = output.last_hidden_state.numpy()
            return np.concatenate([tokens[:, 0], tokens[:, config.num_prefix_tokens :].mean(1)], axis=-1)
        if kind == "InternVLVisionModel":
            found = output.last_hidden_state.numpy()
            return found[:, 0] if config.pooling == "token" else found[:, 1:].mean(1)
        if kind in ("ViTModel", "DeiTModel") and config.pre_logits_dim is None:
            found = output.last_hidden_state.numpy()
            return (found[:, 0] + found[:, 1]) / 2 if config.distillation_token else found[:, 0]
        if kind == "Aimv2VisionModel":
            return output.last_hidden_state.mean(1).numpy()
        return output.pooler_output.numpy()

    return _compare(model, run, run_image if processor is not None else None, preprocessing, kind)


def _compare(model: keras.Model, run: Any, run_image: Any, preprocessing: Preprocessing | None, kind: str) -> Outcome:
    config, random = model_config(model), np.random.default_rng(0)
    pixels = random.integers(0, 256, (3, *config.image_size, config.channels)).astype("uint8")
    with torch.no_grad():
        ours, theirs = keras.ops.convert_to_numpy(model(pixels.astype("float32"))), run(pixels)
        resized = None
        if config.channels == 3 and run_image is not None:
            rule = preprocessing or Preprocessing(image_size=config.image_size)
            waves = np.sin(np.linspace(0, 9, 57))[:, None, None] * np.cos(np.linspace(0, 7, 83))[None, :, None]
            image = Image.fromarray((127 + 120 * waves * np.array([1, -0.5, 0.3])).astype("uint8"))
            taken = keras.ops.convert_to_numpy(model(np.asarray(rule.apply(image), "float32")[None]))
            resized = _difference(run_image(image), taken)
    return Outcome(_difference(theirs, ours), resized, kind)


def _difference(theirs: np.ndarray, ours: np.ndarray) -> float:
    if theirs.shape != ours.shape or not np.isfinite(theirs).all():
        return np.inf
    return float(np.abs(theirs - ours).max() / np.abs(ours).max())


def read_weights(model: keras.Model) -> dict[str, np.ndarray]:
    """Returns a model's weights by name."""
    return {weight.path: keras.ops.convert_to_numpy(weight) for weight in model.weights}


def random_model(config: ViTConfig, num_classes: int | None) -> keras.Model:
    """Returns a model with random weights."""
    model, random = vit(config, num_classes=num_classes), np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(random.normal(0, 0.3, weight.shape).astype("float32"))
    if config.stem_norm and num_classes is not None and not config.patch_bias:
        model.get_layer("head").bias.assign(np.zeros(num_classes, "float32"))  # CLIP's projection has no bias
    return model


def main() -> bool:
    """Prints all differences; returns whether any is too large."""
    parser = argparse.ArgumentParser()
    parser.add_argument("references", nargs="*", type=Path)
    parser.add_argument("--random", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    worst = 0.0
    shipped = sorted(path for path in GOLDEN.glob("*.safetensors") if "reference" not in path.name)
    for path in options.references or shipped:
        outcome = compare_with_timm(read_reference(path).build(), preprocessing=None)
        worst = max(worst, outcome.difference)
        sys.stdout.write(f"{path.stem:20} {outcome.difference:.1e}\n")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    for library, compare in (("timm", compare_with_timm), ("transformers", compare_with_transformers)):
        found: dict[str, list[Outcome]] = collections.defaultdict(list)
        resized: dict[str, list[float]] = collections.defaultdict(list)
        tried = refused = 0
        for config, classes, rule in random_configs(options.seed):
            if tried == options.random:
                break
            try:
                if library == "timm":
                    timm_config(config, classes)
                else:
                    huggingface_model(config, [str(index) for index in range(classes or 0)])
            except InvalidArgumentError:
                refused += 1
                continue
            tried += 1
            preprocessing = Preprocessing(image_size=config.image_size, **rule) if config.channels == 3 else None
            try:
                outcome = compare(random_model(config, classes), preprocessing=preprocessing)
            except InvalidArgumentError:  # timm pads with another color
                refused += 1
                continue
            except Exception as error:  # the writer is wrong if the library cannot load it
                sys.stdout.write(
                    f"FAILS   {library} {type(error).__name__} {str(error)[:300]}: {_non_default(config)} classes={classes} {rule}\n"
                )
                worst = np.inf
                continue
            found[outcome.kind].append(outcome)
            if outcome.resized is not None:
                resized[str(rule)].append(outcome.resized)
            if outcome.difference > TOLERANCE:
                sys.stdout.write(f"DIFFERS {library} {outcome}: {_non_default(config)} classes={classes} {rule}\n")
            worst = max(worst, outcome.difference)
        for kind, outcomes in sorted(found.items()):
            largest = max(outcome.difference for outcome in outcomes)
            sys.stdout.write(f"{library:13} {kind:42} {len(outcomes):4} models, {largest:.1e}\n")
        for rule_name, differences in resized.items():
            line = f"{len(differences):4} images, {max(differences):.1e}, median {np.median(differences):.1e}"
            sys.stdout.write(f"{library:13} resized by {rule_name:50} {line}\n")
        sys.stdout.write(f"{library:13} {refused} other configs are refused\n")
    return worst > TOLERANCE


def _non_default(config: ViTConfig) -> dict[str, Any]:
    plain = ViTConfig(**_SIZES).to_dict()
    return {name: value for name, value in config.to_dict().items() if value != plain[name]}


if __name__ == "__main__":
    sys.exit(main())
