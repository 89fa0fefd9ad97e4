import pytest

from vit_keras.errors import InvalidArgumentError
from vit_keras.presets import list_presets, load_preset
from vit_keras.pretraining.mae.decoder_size import choose_decoder_size

pytestmark = pytest.mark.any_backend


@pytest.mark.parametrize(
    ("preset", "size"),
    [
        ("vit_base_patch16_224", (512, 8, 16)),  # the paper's, of B, L and H
        ("vit_huge_patch14_224", (512, 8, 16)),
        ("vit_tiny_patch16_224", (96, 1, 3)),  # mae-lite's
        ("vit_small_patch16_224", (192, 4, 6)),
        ("vit_nano_conv8_64", (64, 1, 2)),
    ],
)
def test_published_sizes_are_chosen(preset, size):
    chosen = choose_decoder_size(load_preset(preset).config.hidden_dim)
    assert (chosen.dim, chosen.num_layers, chosen.num_heads) == size


def test_every_preset_has_a_legal_size():
    for hidden_dim in {load_preset(name).config.hidden_dim for name in list_presets()} | {1, 2, 5, 31, 33, 100}:
        size = choose_decoder_size(hidden_dim)
        assert size.dim % 4 == size.dim % size.num_heads == 0 < size.dim


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dim": 0}, "decoder_dim=0 is not a positive integer"),
        ({"num_layers": 1.5}, "decoder_layers=1.5 is not a positive integer"),
        ({"dim": 30}, "decoder_dim=30 must be divisible by 4.*such as 32"),
        ({"dim": 64, "num_heads": 6}, "decoder_dim=64 must be divisible by 4.*decoder_heads=6: such as 72"),
    ],
)
def test_bad_sizes_are_refused(arguments, message):
    with pytest.raises(InvalidArgumentError, match=message):
        choose_decoder_size(192, **arguments)
