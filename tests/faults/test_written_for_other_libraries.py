"""Models written for timm and transformers are loaded there and compute our numbers, or are refused."""

import importlib
import json
from dataclasses import fields

import keras
import numpy as np
import oracle
import pytest
from PIL import Image
from weights.checkpoints import random_weights

from vit_keras import predict, save_preset
from vit_keras.cli.commands.weights.convert import convert_command
from vit_keras.config import ViTConfig
from vit_keras.data import Preprocessing
from vit_keras.errors import InvalidArgumentError
from vit_keras.models.vit import vit
from vit_keras.weights import write
from vit_keras.weights.writers import requirements
from vit_keras.weights.writers.huggingface_config import huggingface_model
from vit_keras.weights.writers.timm_config import timm_config
from vit_keras.zoo.load_model import open_model

pytestmark = pytest.mark.any_backend

PLAIN = ViTConfig(
    image_size=32, patch_size=8, hidden_dim=24, num_layers=2, num_heads=2, mlp_dim=48,
    pixel_mean=(0.485, 0.456, 0.406), pixel_std=(0.229, 0.224, 0.225),
)  # fmt: skip
NAMES = ["crane", "maillot", "crane", "dog", "cat"]  # as in ImageNet, two classes of one name
MAP = {"pooling": "map", "num_registers": 2}
GATED = {"gated_mlp": True, "activation": "silu"}
PERCEPTION = {
    "stem_norm": True, "patch_bias": False, "norm_epsilon": 1e-5, "rotary_embedding": "axial", "rotary_temperature": 1e4,
    "rotary_order": "xy", "rotary_reference": (3, 5), "rotary_offset": 1.0,
}  # fmt: skip
DINOV2 = {"layer_scale": 0.1, "pooling": "token_and_mean"}
CLASSIFIERS = {
    "vit": {},
    "deit": {"distillation_token": True},
    "dinov2": DINOV2,
    "dinov2 gated": {**DINOV2, **GATED, "mlp_dim": 64},
    "dinov2 with registers": {**DINOV2, "num_registers": 2, "position_on_prefix": False},
    "clip": {"stem_norm": True, "patch_bias": False, "norm_epsilon": 1e-5, "pooling": "mean", "final_norm": "none"},
    "vit with partial patches": {"patch_size": 7, "partial_patches": "crop"},
}
TOWERS = {
    "dinov2": DINOV2 | {"pooling": "token"},
    "dinov3": {
        "layer_scale": 0.1, "num_registers": 2, "position_embedding": "none", "rotary_embedding": "centered",
        "qkv_bias": "query_value", "norm_epsilon": 1e-5,
    },
    "siglip": {"class_token": False, "pooling": "map", "activation": "gelu_tanh"},
    "clip": {"stem_norm": True, "patch_bias": False, "activation": "quick_gelu", "norm_epsilon": 1e-5},
}  # fmt: skip


def written(folder, config, *, to, num_classes=5, **arguments):
    """Returns a model with random weights, and its directory for another library."""
    model = oracle.randomize(vit(config, num_classes=num_classes))
    arrays = {weight.path: keras.ops.convert_to_numpy(weight) for weight in model.weights}
    names = NAMES if num_classes else None
    return model, write(arrays, config, folder / "out", to=to, class_names=names, **arguments)


def outputs(model, pixels):
    return keras.ops.convert_to_numpy(model(np.asarray(pixels, "float32")))


def probabilities(logits):
    exponentials = np.exp(logits - logits.max())
    return exponentials / exponentials.sum()


def photo(height, width):
    """Returns a smooth image, as a photo is."""
    rows, columns = np.sin(np.linspace(0, 9, height))[:, None], np.cos(np.linspace(0, 7, width))[None]
    return Image.fromarray((127 + 120 * (rows * columns)[..., None] * [1, -0.5, 0.3]).astype("uint8"))


@pytest.fixture
def transformers():
    pytest.importorskip("torch")
    library = pytest.importorskip("transformers")
    library.utils.logging.disable_progress_bar()
    return library


@pytest.mark.parametrize("kind", CLASSIFIERS)
@pytest.mark.filterwarnings("ignore")
def test_a_pipeline_of_transformers_gives_our_probabilities(tmp_path, transformers, kind):
    model, folder = written(tmp_path, PLAIN.replace(**CLASSIFIERS[kind]), to="huggingface")
    pillow = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")  # torchvision rounds otherwise
    for image, processor in ((photo(32, 32), None), (photo(50, 70), pillow)):
        classify = transformers.pipeline("image-classification", model=str(folder), image_processor=processor)
        resized = Preprocessing(image_size=(32, 32)).apply(image)
        expected = probabilities(outputs(model, np.asarray(resized)[None])[0])
        found = classify(image, top_k=5)
        np.testing.assert_allclose([item["score"] for item in found], np.sort(expected)[::-1], atol=1e-5)
        assert [item["label"] for item in found] == [NAMES[index] for index in np.argsort(-expected)]


@pytest.mark.parametrize("kind", TOWERS)
@pytest.mark.filterwarnings("ignore")
def test_auto_model_of_transformers_gives_our_features(tmp_path, transformers, kind):
    model, folder = written(tmp_path, PLAIN.replace(**TOWERS[kind]), to="huggingface", num_classes=None)
    theirs = transformers.AutoModel.from_pretrained(folder).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    image = photo(32, 32)
    found = theirs(**processor(images=image, return_tensors="pt")).pooler_output.detach().numpy()
    np.testing.assert_allclose(found, outputs(model, np.asarray(image)[None]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({}, {"size": {"shortest_edge": 32}, "resample": 3, "do_center_crop": True}),
        ({"crop": 0.875, "interpolation": "bilinear"}, {"size": {"shortest_edge": 36}, "resample": 2}),
        ({"crop_mode": "squash"}, {"size": {"height": 32, "width": 32}, "do_center_crop": False}),
        ({"crop_mode": "squash", "crop": 0.9}, {"size": {"height": 35, "width": 35}, "do_center_crop": True}),
        ({"interpolation": "lanczos"}, {"resample": 1}),
    ],
)
def test_preprocessing_is_written_for_transformers(tmp_path, rule, expected):
    _, folder = written(tmp_path, PLAIN, to="huggingface", preprocessing=Preprocessing(image_size=(32, 32), **rule))
    found = json.loads((folder / "preprocessor_config.json").read_text())
    expected |= {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225], "rescale_factor": 1 / 255}
    assert {**expected, "crop_size": {"height": 32, "width": 32}}.items() <= found.items()


def test_convert_writes_the_preprocessing_for_timm_and_transformers(tmp_path):
    rule = Preprocessing(image_size=(32, 32), crop=0.9, crop_mode="squash", interpolation="bilinear")
    save_preset(vit(PLAIN, num_classes=5), tmp_path / "mine", class_names=NAMES, preprocessing=rule)
    for to in ("huggingface", "timm"):
        convert_command(str(tmp_path / "mine"), tmp_path / to, to=to)
    found = json.loads((tmp_path / "huggingface" / "preprocessor_config.json").read_text())
    assert found["size"] == {"height": 35, "width": 35}
    found = json.loads((tmp_path / "timm" / "config.json").read_text())
    pixels = {"crop_pct": 0.9, "crop_mode": "squash", "interpolation": "bilinear"}
    assert pixels.items() <= found["pretrained_cfg"].items()
    assert found["label_names"] == NAMES


@pytest.mark.filterwarnings("ignore")
def test_preprocessing_that_transformers_lacks_is_left_out_with_a_warning(tmp_path, transformers, caplog):
    rule = Preprocessing(image_size=(32, 32), crop_mode="border")
    _, folder = written(tmp_path, PLAIN, to="huggingface", preprocessing=rule)
    assert "preprocessor_config.json is left out" in caplog.text
    assert "crop_mode='squash'" in caplog.text
    with pytest.raises(OSError, match="image processor"):
        transformers.pipeline("image-classification", model=str(folder))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"preprocessing": Preprocessing(image_size=(32, 32), crop_mode="border")}, "color of pixel_mean"),
        ({"preprocessing": Preprocessing(image_size=(64, 64))}, r"the model takes \(32, 32, 3\)"),
        ({"preprocessing": Preprocessing(image_size=(32, 32), channels=1)}, r"the model takes \(32, 32, 3\)"),
        ({"classifier_activation": "softmax"}, r"classifier_activation='softmax'.*end in logits"),
        ({"to": "huggingface", "classifier_activation": "softmax"}, r"classifier_activation='softmax'.*end in logits"),
    ],
)
def test_what_the_other_library_lacks_is_refused_and_nothing_is_written(tmp_path, arguments, message):
    with pytest.raises(InvalidArgumentError, match=message):
        write(random_weights(PLAIN), PLAIN, tmp_path / "out", **{"to": "timm", **arguments})
    assert not list(tmp_path.iterdir())


def test_a_border_of_the_color_that_timm_pads_with_is_written(tmp_path):
    rule = Preprocessing(image_size=(32, 32), crop_mode="border")
    assert written(tmp_path, PLAIN.replace(pixel_mean=0.5), to="timm", preprocessing=rule)[1].is_dir()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({**MAP, "map_includes_prefix": True}, True),
        ({**MAP, "map_includes_prefix": False}, False),
        ({"pooling": "mean", "num_registers": 2}, None),
        # Its attention pooling has GELU with any MLP, and that of its Eva always includes prefix tokens.
        ({**MAP, **GATED}, "gated MLP"),
        ({**MAP, "map_includes_prefix": False, "rotary_embedding": "axial", "qkv_bias": "query_value"}, "map_includes_prefix"),
    ],
)  # fmt: skip
def test_attention_pooling_is_written_for_timm_or_refused(changes, expected):
    if isinstance(expected, str):
        with pytest.raises(InvalidArgumentError, match=f"timm has no such model.*{expected}"):
            timm_config(PLAIN.replace(**changes), 5)
    else:
        assert timm_config(PLAIN.replace(**changes), 5)["model_args"].get("pool_include_prefix") is expected


@pytest.mark.parametrize(
    ("image_size", "registers"), [((16, 64), 0), ((24, 40), 2)]
)  # as many patches as a square, and not
def test_rectangles_that_transformers_dinov2_mistakes_for_squares_are_refused(image_size, registers):
    config = PLAIN.replace(**DINOV2, num_registers=registers, position_on_prefix=False, image_size=image_size)
    with pytest.raises(InvalidArgumentError, match="its images are square"):
        huggingface_model(config, NAMES)


def test_every_field_is_limited_written_or_without_effect():
    handled = [*requirements.PLAIN, *requirements.WRITTEN, *requirements.NOT_WRITTEN]
    assert sorted(handled) == sorted(field.name for field in fields(ViTConfig))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {**MAP},
        {**MAP, "map_includes_prefix": False},
        {"channels": 4, "pixel_mean": 0.5, "pixel_std": 0.5},
        {"patch_size": 7, "partial_patches": "crop"},
        {"final_norm": "none", "pooling": "mean"},
        {**PERCEPTION, "pooling": "map", "num_map_heads": 8, "map_mlp_dim": 50},
        {**PERCEPTION, "final_norm": "none", "class_token": False, "pooling": "mean"},
    ],
)
def test_timm_loads_the_directory_and_gives_our_logits(tmp_path, changes):
    torch, timm = pytest.importorskip("torch"), pytest.importorskip("timm")
    config = PLAIN.replace(**changes)
    model, folder = written(tmp_path, config, to="timm")
    theirs = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    data = importlib.import_module("timm.data").resolve_model_data_config(theirs)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, config.channels)).astype("float32")
    images = ((pixels / 255 - data["mean"]) / data["std"]).astype("float32").transpose(0, 3, 1, 2)
    found = theirs(torch.from_numpy(images)).detach().numpy()
    np.testing.assert_allclose(found, outputs(model, pixels), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("task", ["multi_label", "regression", None])
def test_transformers_knows_what_the_outputs_mean_and_so_do_we_of_its_models(task, tmp_path):
    transformers = pytest.importorskip("transformers")
    model, folder = written(tmp_path, PLAIN, to="huggingface", task=task)
    theirs = transformers.AutoConfig.from_pretrained(folder)
    assert theirs.problem_type == {"multi_label": "multi_label_classification"}.get(task, task)
    opened = open_model(folder)
    assert (opened.task, opened.model.task) == (task, task)
    if task == "multi_label":
        pixels = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3)).astype("uint8")
        expected = 1 / (1 + np.exp(-outputs(model, pixels)[0].astype("float64")))
        (row,) = predict(folder, pixels)
        assert row.probabilities == pytest.approx(np.sort(expected)[::-1], rel=1e-4)
