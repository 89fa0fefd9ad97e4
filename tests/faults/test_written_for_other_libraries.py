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

from vit_keras import save_preset
from vit_keras.cli.commands.convert import convert_command
from vit_keras.config import ViTConfig
from vit_keras.data import Preprocessing
from vit_keras.errors import InvalidArgumentError
from vit_keras.models.vit import vit
from vit_keras.weights import write
from vit_keras.weights.writers import requirements
from vit_keras.weights.writers.huggingface_config import huggingface_model
from vit_keras.weights.writers.timm_config import timm_config

PLAIN = ViTConfig(
    image_size=32, patch_size=8, hidden_dim=24, num_layers=2, num_heads=2, mlp_dim=48,
    pixel_mean=(0.485, 0.456, 0.406), pixel_std=(0.229, 0.224, 0.225),
)  # fmt: skip
NAMES = ["crane", "maillot", "crane", "dog", "cat"]  # as in ImageNet, two classes of one name
MAP = {"pooling": "map", "num_registers": 2}
GATED = {"gated_mlp": True, "activation": "silu"}
DINOV2 = {"layer_scale": 0.1, "pooling": "token_and_mean"}
CLASSIFIERS = {
    "vit": {},
    "deit": {"distillation_token": True},
    "dinov2": DINOV2,
    "dinov2 gated": {**DINOV2, **GATED, "mlp_dim": 64},
    "dinov2 with registers": {**DINOV2, "num_registers": 2, "position_on_prefix": False},
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
    assert expected.items() <= found.items()
    assert found["crop_size"] == {"height": 32, "width": 32}
    assert found["image_mean"] == [0.485, 0.456, 0.406]
    assert found["image_std"] == [0.229, 0.224, 0.225]
    assert found["rescale_factor"] == 1 / 255


@pytest.mark.filterwarnings("ignore")
def test_preprocessing_that_transformers_lacks_is_left_out_with_a_warning(tmp_path, transformers, caplog):
    rule = Preprocessing(image_size=(32, 32), crop_mode="border")
    _, folder = written(tmp_path, PLAIN, to="huggingface", preprocessing=rule)
    assert "preprocessor_config.json is left out" in caplog.text
    assert "crop_mode='squash'" in caplog.text
    with pytest.raises(OSError, match="image processor"):
        transformers.pipeline("image-classification", model=str(folder))


def test_preprocessing_is_written_for_timm(tmp_path):
    rule = Preprocessing(image_size=(32, 32), crop=0.9, crop_mode="squash", interpolation="bilinear")
    _, folder = written(tmp_path, PLAIN, to="timm", preprocessing=rule)
    found = json.loads((folder / "config.json").read_text())["pretrained_cfg"]
    assert (found["crop_pct"], found["crop_mode"], found["interpolation"]) == (0.9, "squash", "bilinear")


def test_a_border_that_timm_pads_with_another_color_is_refused(tmp_path):
    rule = Preprocessing(image_size=(32, 32), crop_mode="border")
    with pytest.raises(InvalidArgumentError, match="color of pixel_mean"):
        written(tmp_path, PLAIN, to="timm", preprocessing=rule)
    gray = PLAIN.replace(pixel_mean=0.5)
    assert written(tmp_path, gray, to="timm", preprocessing=rule)[1].is_dir()


def test_preprocessing_to_another_size_is_refused(tmp_path):
    for rule in (Preprocessing(image_size=(64, 64)), Preprocessing(image_size=(32, 32), channels=1)):
        with pytest.raises(InvalidArgumentError, match=r"the model takes \(32, 32, 3\)"):
            written(tmp_path, PLAIN, to="timm", preprocessing=rule)


@pytest.mark.parametrize("includes_prefix", [True, False])
def test_the_tokens_of_attention_pooling_are_written_for_timm(includes_prefix):
    arguments = timm_config(PLAIN.replace(**MAP, map_includes_prefix=includes_prefix), 5)["model_args"]
    assert arguments["pool_include_prefix"] is includes_prefix


@pytest.mark.parametrize("pooling", ["mean", "token"])
def test_other_poolings_do_not_write_pool_include_prefix(pooling):
    assert "pool_include_prefix" not in timm_config(PLAIN.replace(pooling=pooling, num_registers=2), 5)["model_args"]


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        # Its attention pooling has GELU with any MLP, and that of its Eva always includes prefix tokens.
        ({**MAP, **GATED}, "gated MLP"),
        ({**MAP, "map_includes_prefix": False, "rotary_embedding": "axial", "qkv_bias": "query_value"}, "map_includes_prefix"),
    ],
)  # fmt: skip
def test_attention_pooling_that_differs_in_timm_is_refused(changes, word):
    with pytest.raises(InvalidArgumentError, match=f"timm has no such model.*{word}"):
        timm_config(PLAIN.replace(**changes), 5)


@pytest.mark.parametrize("image_size", [(16, 64), (24, 40)])  # as many patches as a square has, and not
@pytest.mark.parametrize("registers", [0, 2])
def test_rectangles_that_transformers_dinov2_mistakes_for_squares_are_refused(image_size, registers):
    config = PLAIN.replace(**DINOV2, num_registers=registers, position_on_prefix=False, image_size=image_size)
    with pytest.raises(InvalidArgumentError, match="its images are square"):
        huggingface_model(config, NAMES)


def test_a_model_with_probabilities_is_refused(tmp_path):
    for to in ("timm", "huggingface"):
        with pytest.raises(InvalidArgumentError, match=r"classifier_activation='softmax'.*end in logits"):
            write(random_weights(PLAIN), PLAIN, tmp_path / "out", to=to, classifier_activation="softmax")
    assert not list(tmp_path.iterdir())


def test_every_field_is_limited_written_or_without_effect():
    handled = [*requirements.PLAIN, *requirements.WRITTEN, *requirements.NOT_WRITTEN]
    assert sorted(handled) == sorted(field.name for field in fields(ViTConfig))


def test_convert_keeps_the_preprocessing(tmp_path):
    rule = Preprocessing(image_size=(32, 32), crop=0.875, interpolation="bilinear")
    save_preset(vit(PLAIN, num_classes=5), tmp_path / "mine", class_names=NAMES, preprocessing=rule)
    for to, file in (("huggingface", "preprocessor_config.json"), ("timm", "config.json")):
        target = tmp_path / to
        convert_command(str(tmp_path / "mine"), target, to=to)
        found = json.loads((target / file).read_text())
        if to == "timm":
            assert (found["pretrained_cfg"]["crop_pct"], found["label_names"]) == (0.875, NAMES)
        else:
            assert found["size"] == {"shortest_edge": 36}


@pytest.mark.parametrize(
    "changes",
    [{}, {**MAP}, {**MAP, "map_includes_prefix": False}, {"channels": 4, "pixel_mean": 0.5, "pixel_std": 0.5}],
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
