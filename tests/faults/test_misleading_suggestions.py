"""An argument named as in another library is answered with our name, not with one that is spelled alike."""

import re

import pytest

import vit_keras as vk
from vit_keras.config import ViTConfig
from vit_keras.errors import InvalidArgumentError
from vit_keras.synonyms import FIELD_SYNONYMS, VALUE_SYNONYMS

pytestmark = pytest.mark.any_backend

SIZES = {"image_size": 32, "patch_size": 8, "hidden_dim": 24, "num_layers": 2, "num_heads": 2, "mlp_dim": 48}


def test_a_field_of_another_library_is_answered_with_ours():
    assert FIELD_SYNONYMS.items() >= {("depth", "num_layers"), ("embed_dim", "hidden_dim"), ("img_size", "image_size")}
    calls = [(ViTConfig, theirs) for theirs in FIELD_SYNONYMS]
    calls += [
        (lambda **fields: vk.from_preset("test_vit", **fields), theirs) for theirs in ("depth", "pretrained", "dtype")
    ]
    calls += [
        (lambda **fields: vk.vit(ViTConfig(**SIZES), num_classes=3, **fields), theirs)
        for theirs in ("num_labels", "depth")
    ]
    for make, theirs in calls:
        message = re.escape(f"there is no field '{theirs}': use {FIELD_SYNONYMS[theirs]}")
        with pytest.raises(InvalidArgumentError, match=message) as caught:
            make(**SIZES, **{theirs: 1})
        assert "did you mean" not in str(caught.value)


def test_a_value_of_another_library_is_answered_with_ours():
    assert VALUE_SYNONYMS["pooling"]["avg"] == "mean"
    for field, values in VALUE_SYNONYMS.items():
        for theirs, ours in values.items():
            with pytest.raises(InvalidArgumentError, match=f"{field}='{theirs}' is none of.*did you mean '{ours}'"):
                ViTConfig(**SIZES, **{field: theirs})


def test_vit_takes_fields_in_place_of_those_of_its_config():
    config = ViTConfig(**SIZES)
    model = vk.vit(config, num_classes=3, num_layers=1, pooling="mean")
    assert vk.model_config(model) == config.replace(num_layers=1, pooling="mean")


def test_a_typing_error_is_answered_with_the_closest_name():
    with pytest.raises(InvalidArgumentError, match="did you mean 'hidden_dim'"):
        ViTConfig(**SIZES, hiden_dim=3)


def test_no_synonym_is_a_field():
    assert not FIELD_SYNONYMS.keys() & ViTConfig(**SIZES).to_dict().keys()
