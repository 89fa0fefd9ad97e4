"""A word of another library is answered with ours, not with what is spelled alike."""

import pytest

import vit_keras as vk
from vit_keras.config import ViTConfig
from vit_keras.errors import InvalidArgumentError
from vit_keras.synonyms import FIELD_SYNONYMS, VALUE_SYNONYMS

SIZES = {"image_size": 32, "patch_size": 8, "hidden_dim": 24, "num_layers": 2, "num_heads": 2, "mlp_dim": 48}


@pytest.mark.parametrize(
    ("word", "ours"),
    [
        ("depth", "num_layers"), ("embed_dim", "hidden_dim"), ("heads", "num_heads"), ("mlp_ratio", "mlp_dim"),
        ("img_size", "image_size"), ("in_chans", "channels"), ("drop_path_rate", "stochastic_depth_rate"),
        ("init_values", "layer_scale"), ("reg_tokens", "num_registers"), ("global_pool", "pooling"),
        ("hidden_act", "activation"), ("layer_norm_eps", "norm_epsilon"), ("num_labels", "num_classes"),
        ("include_top", "num_classes"), ("pretrained", "weights"), ("dtype", "keras.config.set_dtype_policy"),
    ],
)  # fmt: skip
def test_a_word_of_the_field_is_answered_with_ours(word, ours):
    for make in (lambda: ViTConfig(**SIZES, **{word: 1}), lambda: vk.from_preset("test_vit", **{word: 1})):
        with pytest.raises(InvalidArgumentError, match=f"there is no field '{word}': use {ours}") as caught:
            make()
        assert "did you mean" not in str(caught.value)


def test_a_value_of_the_field_is_answered_with_ours():
    with pytest.raises(InvalidArgumentError, match=r"pooling='avg' is none of.*did you mean 'mean'"):
        ViTConfig(**SIZES, pooling="avg")
    with pytest.raises(
        InvalidArgumentError, match=r"activation='gelu_pytorch_tanh' is none of.*did you mean 'gelu_tanh'"
    ):
        ViTConfig(**SIZES, activation="gelu_pytorch_tanh")


def test_a_typing_error_is_still_answered_with_what_is_spelled_alike():
    with pytest.raises(InvalidArgumentError, match="did you mean 'hidden_dim'"):
        ViTConfig(**SIZES, hiden_dim=3)


def test_no_synonym_is_a_field_and_every_value_is_one():
    fields = ViTConfig(**SIZES).to_dict().keys()
    assert not FIELD_SYNONYMS.keys() & fields
    for field, values in VALUE_SYNONYMS.items():
        for theirs, ours in values.items():
            with pytest.raises(InvalidArgumentError, match=f"{field}='{theirs}' is none of"):
                ViTConfig(**SIZES, **{field: theirs})
            with pytest.raises(InvalidArgumentError, match=f"did you mean '{ours}'"):
                ViTConfig(**SIZES, **{field: theirs})
