"""Directories of transformers whose image processors leave something out, or are written another way; the pixels are compared with transformers'."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from faults.directories import IMAGENET, write_processor, write_transformers
from PIL import Image

import vit_keras as vk
from vit_keras.errors import InvalidArgumentError

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = [
    pytest.mark.any_backend,
    pytest.mark.filterwarnings("ignore:.*:DeprecationWarning", "ignore:.*torchvision.*"),
]

PROCESSORS = {
    "beit of 2022": {"feature_extractor_type": "BeitFeatureExtractor", "size": 32, "crop_size": 32, "do_center_crop": False, "resample": 2},
    "deit of 2022": {"feature_extractor_type": "DeiTFeatureExtractor", "size": 36, "crop_size": 32, "do_center_crop": True, "resample": 3},
    "clip of 2022": {"feature_extractor_type": "CLIPFeatureExtractor", "size": 36, "crop_size": 32, "do_center_crop": True, "resample": 3},
    "vit": {"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}},
    "beit": {"image_processor_type": "BeitImageProcessor", "size": {"height": 32, "width": 32}},
    "siglip": {"image_processor_type": "SiglipImageProcessor", "size": {"height": 32, "width": 32}},
    "deit": {"image_processor_type": "DeiTImageProcessor", "size": {"height": 36, "width": 36}, "crop_size": {"height": 32, "width": 32}},
    "clip": {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 36}, "crop_size": {"height": 32, "width": 32}},
    "bit": {"image_processor_type": "BitImageProcessor", "size": {"shortest_edge": 36}, "crop_size": {"height": 32, "width": 32}},
    "convnext": {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 32}, "crop_pct": 0.8},
}  # fmt: skip


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """A directory that gets one processor after the other."""
    folder = tmp_path_factory.mktemp("directory")
    write_transformers(folder, "ViTForImageClassification", "ViTConfig", num_labels=2)
    return folder


def their_pixels(folder, image):
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    return np.asarray(processor(images=image)["pixel_values"][0]).transpose(1, 2, 0)


def our_pixels(folder, image):
    config = vk.model_config(vk.from_preset(folder))
    return (vk.load_preprocessing(folder).to_array(image) / 255 - config.pixel_mean) / config.pixel_std


def assert_equal_pixels(ours, theirs):
    """Equal but for one gray level where Pillow's passes round a half."""
    difference = np.abs(ours - theirs)
    assert difference.max() < 1.01 / 255 / 0.22
    assert np.mean(difference > 1e-4) < 0.01


def random_image():
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 75, 3)).astype("uint8"))


@pytest.mark.parametrize("name", PROCESSORS)
def test_pixels_are_those_of_transformers(directory, name):
    (directory / "preprocessor_config.json").write_text(json.dumps(PROCESSORS[name]))
    assert_equal_pixels(our_pixels(directory, random_image()), their_pixels(directory, random_image()))


def test_the_file_that_transformers_5_writes_for_several_inputs_comes_first(directory, tmp_path):
    folder = Path(shutil.copytree(directory, tmp_path / "directory"))
    write_processor(folder)
    plain = our_pixels(folder, random_image())
    whole = {"image_processor": PROCESSORS["clip"], "processor_class": "CLIPProcessor"}
    (folder / "processor_config.json").write_text(json.dumps(whole))
    theirs = their_pixels(folder, random_image())
    assert_equal_pixels(our_pixels(folder, random_image()), theirs)
    assert np.abs(theirs - plain).max() > 0.1
    (folder / "preprocessor_config.json").unlink()
    assert "how images are resized" not in vk.checkpoint_info(folder / "config.json")["missing"]


@pytest.mark.parametrize(
    ("processor", "message"),
    [
        ({"image_processor_type": "MobileViTImageProcessor"}, "not preprocessed by MobileViTImageProcessor"),
        ({"resample": 4}, "not by resample=4"),
        ({"do_resize": False, "do_center_crop": True, "crop_size": 32}, "its image processor cuts out the center"),
        ({"size": {"shortest_edge": 32, "longest_edge": 40}}, "within longest_edge=40 px"),
        ({"size": {"height": 24, "width": 24}}, "makes images of 24 px, and the model is built for 32 px"),
    ],
)
def test_what_cannot_be_done_as_transformers_does_it_is_said(directory, processor, message, caplog):
    write_processor(directory, **processor)
    vk.load_preprocessing(directory)
    assert message in caplog.text
    caplog.clear()
    write_processor(directory, image_mean=list(IMAGENET[0]))
    vk.load_preprocessing(directory)
    assert caplog.text == ""


def test_a_head_of_one_number_is_a_regression_as_in_transformers(tmp_path):
    write_transformers(tmp_path, "ViTForImageClassification", "ViTConfig", num_labels=1)
    write_processor(tmp_path)
    answer = transformers.ViTForImageClassification.from_pretrained(tmp_path)
    answer(pixel_values=torch.zeros(1, 3, 32, 32), labels=torch.zeros(1))
    assert answer.config.problem_type == "regression"  # what transformers decides
    (row,) = vk.predict(tmp_path, np.zeros((1, 32, 32, 3), "uint8"))
    assert len(row.values) == 1
    assert row.classes == ()


def test_another_model_is_refused_by_its_name_whatever_its_tensors_resemble(tmp_path):
    options = {
        "image_size": [32, 32],
        "patch_size": [4, 4],
        "patch_stride": [4, 4],
        "patch_padding": [0, 0],
        "embed_dim": 8,
        "depths": [1, 1],
    }
    options |= {"num_heads": [1, 2], "num_query_pool": 1, "masked_unit_size": [2, 2]}
    transformers.HieraForImageClassification(transformers.HieraConfig(**options)).save_pretrained(tmp_path)
    with pytest.raises(InvalidArgumentError, match='model_type="hiera" is none of'):
        vk.from_preset(tmp_path)
