from functools import cache

import numpy as np
import pytest
from explain.families import COVERING, FAMILIES, PARAMETERS, small_model
from explain.plain import plain_blocks

from vit_keras.models.vit import model_config


@cache
def compute_family(name):
    model = small_model(name)
    images = np.random.default_rng(0).integers(0, 256, (3, *model_config(model).image_size, 3)).astype("float32")
    return model, images, plain_blocks(model, images)


@pytest.fixture(params=COVERING)
def family(request):
    """A model, three images, and what plain numpy computes of them; the files of this folder share them."""
    return compute_family(request.param)


@pytest.fixture(params=PARAMETERS)
def every_family(request):
    """The same of all families, most of them in the slow suite."""
    return compute_family(request.param)


@pytest.fixture(scope="module")
def model():
    return small_model("vit_base_patch16_224" if "vit_base_patch16_224" in FAMILIES else next(iter(FAMILIES)))


@pytest.fixture(scope="module")
def images(model):
    return np.random.default_rng(0).integers(0, 256, (2, *model_config(model).image_size, 3)).astype("uint8")
