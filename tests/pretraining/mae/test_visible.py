import pytest

from vit_keras.config import ViTConfig
from vit_keras.errors import InvalidArgumentError
from vit_keras.pretraining.mae.visible import check_maskable

pytestmark = pytest.mark.any_backend

CONFIG = ViTConfig(image_size=16, patch_size=4, hidden_dim=16, num_layers=1, num_heads=2, mlp_dim=32)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"relative_position": "table"}, 'relative_position="table" is a bias between the patches of a whole grid'),
        ({"max_num_patches": 9}, "max_num_patches=9 packs images of any aspect ratio"),
        ({"dynamic_image_size": True}, "dynamic_image_size=True has no fixed grid"),
        ({"position_embedding": "none"}, 'position_embedding="none" does not tell the encoder'),
        ({"rotary_embedding": "axial"}, 'rotary_embedding="axial" rotates by the positions'),
    ],
)
def test_encoders_that_need_the_whole_grid_are_refused(changes, message):
    with pytest.raises(InvalidArgumentError, match=message):
        check_maskable(CONFIG.replace(**changes))
