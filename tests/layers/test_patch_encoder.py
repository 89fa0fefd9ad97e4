import numpy as np
import oracle
import pytest

from vit_keras.layers import PatchEncoder

GRID = (2, 3)
PATCHES = oracle.tokens(2, 6, 5)
SINCOS = {"position_embedding": "sincos2d", "grid_size": GRID}
VARIANTS = [
    {},
    {"class_token": False},
    {"position_embedding": "none"},
    SINCOS,
    {"use_bias": False, "distillation_token": True, "num_registers": 2},
    {"num_registers": 2, "position_on_prefix": False, "position_resize": "bicubic_offset", "patch_resize": "bilinear"},
    {"class_token": False, "num_registers": 3, **SINCOS},
]


@pytest.mark.parametrize("arguments", VARIANTS)
def test_equals_the_oracle(arguments):
    encoder = oracle.build(PatchEncoder(8, **arguments), PATCHES.shape)
    position_embedding = arguments.get("position_embedding", "learned")
    expected = oracle.patch_encoder(
        PATCHES, oracle.weights_of(encoder), position_embedding=position_embedding, grid_size=GRID
    )
    oracle.assert_close(oracle.call(encoder, PATCHES), expected)


@pytest.mark.parametrize("dim", [4, 24])
def test_fixed_positions_equal_the_oracle(dim):
    encoder = PatchEncoder(dim, position_embedding="sincos2d", grid_size=(3, 5))
    encoder.build((None, 15, 2))
    oracle.assert_close(encoder.positions[0], oracle.sincos2d(3, 5, dim))


def test_fixed_positions_form_a_square_by_default_and_are_not_weights():
    encoder, square = (PatchEncoder(8, position_embedding="sincos2d", grid_size=grid) for grid in (None, (3, 3)))
    for each in (encoder, square):
        each.build((None, 9, 2))
    np.testing.assert_array_equal(encoder.positions, square.positions)
    assert [weight.path for weight in encoder.weights if "position" in weight.path] == []


def test_class_token_starts_at_zero_and_is_the_same_for_every_image():
    encoder = PatchEncoder(8, position_embedding="none")
    assert not oracle.call(encoder, PATCHES)[:, 0].any()
    tokens = oracle.call(oracle.randomize(encoder), PATCHES)
    assert (tokens[:, 0] == tokens[0, 0]).all()
    assert tokens[0, 0].any()


def test_dropout_acts_in_training_only():
    encoder = PatchEncoder(8, dropout_rate=0.5)
    plain, dropped = (oracle.call(encoder, PATCHES, training=training) for training in (False, True))
    zero = dropped == 0
    assert 0.3 < zero.mean() < 0.7
    np.testing.assert_allclose(dropped[~zero], 2 * plain[~zero], rtol=1e-6)
