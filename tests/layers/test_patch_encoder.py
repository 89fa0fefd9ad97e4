import keras
import numpy as np
import oracle
import pytest
from contracts import check_layer

from vit_keras.layers import PatchEncoder

GRID = (2, 3)
VARIANTS = [
    {},
    {"class_token": False},
    {"position_embedding": "none"},
    {"position_embedding": "sincos2d", "grid_size": GRID},
    {"position_embedding": "sincos2d", "grid_size": GRID, "class_token": False},
    {"use_bias": False, "distillation_token": True, "num_registers": 2},
    {"num_registers": 2, "position_on_prefix": False, "position_resize": "bicubic_offset", "patch_resize": "bilinear"},
    {"class_token": False, "num_registers": 3, "position_embedding": "sincos2d", "grid_size": GRID},
]


@pytest.mark.parametrize("arguments", [*VARIANTS, {"dropout_rate": 0.1}])
def test_contract(arguments, tmp_path):
    check_layer(PatchEncoder(8, **arguments), (2, 6, 5), tmp_path)


@pytest.mark.parametrize("arguments", VARIANTS)
def test_equals_the_oracle(arguments):
    patches = np.random.default_rng(0).normal(size=(2, 6, 5)).astype("float32")
    encoder = PatchEncoder(8, **arguments)
    encoder.build(patches.shape)
    weights = oracle.weights_of(oracle.randomise(encoder))
    expected = oracle.patch_encoder(
        patches, weights, position_embedding=arguments.get("position_embedding", "learned"), grid_size=GRID
    )
    np.testing.assert_allclose(keras.ops.convert_to_numpy(encoder(patches)), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dim", [4, 8, 24])
def test_fixed_positions_equal_the_oracle(dim):
    encoder = PatchEncoder(dim, position_embedding="sincos2d", grid_size=(3, 5))
    encoder.build((None, 15, 2))
    np.testing.assert_allclose(encoder.positions[0], oracle.sincos2d(3, 5, dim), rtol=1e-5, atol=1e-5)


def test_fixed_positions_form_a_square_by_default_and_are_no_weights():
    encoder, square = (PatchEncoder(8, position_embedding="sincos2d", grid_size=grid) for grid in (None, (3, 3)))
    for each in (encoder, square):
        each.build((None, 9, 2))
    np.testing.assert_array_equal(encoder.positions, square.positions)
    assert [weight.path for weight in encoder.weights if "position" in weight.path] == []


def test_class_token_starts_at_zero_and_is_the_same_for_every_image():
    encoder = PatchEncoder(8, position_embedding="none")
    patches = np.random.default_rng(0).normal(size=(3, 6, 5)).astype("float32")
    assert not keras.ops.convert_to_numpy(encoder(patches))[:, 0].any()
    tokens = keras.ops.convert_to_numpy(oracle.randomise(encoder)(patches))
    assert (tokens[:, 0] == tokens[0, 0]).all()
    assert tokens[0, 0].any()


def test_dropout_acts_in_training_only():
    patches = np.random.default_rng(0).normal(size=(2, 6, 5)).astype("float32")
    encoder = PatchEncoder(8, dropout_rate=0.5)
    kept, dropped = (keras.ops.convert_to_numpy(encoder(patches, training=training)) for training in (False, True))
    zero = dropped == 0
    assert 0.3 < zero.mean() < 0.7
    np.testing.assert_allclose(dropped[~zero], 2 * kept[~zero], rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"hidden_dim": 0}, r"PatchEncoder needs positive whole numbers, not hidden_dim=0\."),
        ({"position_embedding": "sine"}, r"PatchEncoder does not know position_embedding='sine'; choose one of \['learned', 's"),
        ({"dropout_rate": 1.0}, r"PatchEncoder needs fractions in \[0, 1\), not dropout_rate=1\.0\."),
        (
            {"position_embedding": "sincos2d", "hidden_dim": 6},
            r'position_embedding="sincos2d" needs a hidden_dim divisible by 4, not 6\.',
        ),
    ],
)  # fmt: skip
def test_refuses_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        PatchEncoder(**{"hidden_dim": 8, **arguments})


@pytest.mark.parametrize(("grid_size", "taken"), [(None, "2 rows and 2 columns"), ((2, 2), "2 rows and 2 columns")])
def test_refuses_patches_that_are_no_grid(grid_size, taken):
    encoder = PatchEncoder(8, position_embedding="sincos2d", grid_size=grid_size)
    with pytest.raises(ValueError, match=rf"6 patches are no grid of {taken}; give grid_size\."):
        encoder(keras.Input((6, 5)))


@pytest.mark.parametrize("shape", [(5,), (None, 5), (2, 3, 5)])
def test_refuses_what_are_no_patches_of_known_number(shape):
    with pytest.raises(
        ValueError, match=r"PatchEncoder takes tokens of shape \(batch, tokens, hidden_dim\), all but batch known"
    ):
        PatchEncoder(8)(keras.Input(shape))
