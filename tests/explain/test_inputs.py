import numpy as np
import pytest

from vit_keras.errors import DataError, InvalidArgumentError
from vit_keras.explain import attention_maps


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layers": 2}, "no block 2: the model has 2, 0 to 1"),
        ({"heads": [0, -3]}, "no head -3"),
        ({"layers": True}, "no block True"),
        ({"layers": []}, "No block was given"),
        ({"heads": []}, "No head was given"),
        ({"batch_size": 0}, "batch_size must be a positive integer, got 0"),
    ],
)
def test_wrong_indices_are_refused(model, images, arguments, message):
    with pytest.raises(InvalidArgumentError, match=message):
        attention_maps(model, images, **arguments)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda images: images[:, :-1], "Resize them"),
        (lambda images: "photo.jpg", "expected pixels"),
        (lambda images: images[:0], "expected pixels"),
        (lambda images: np.where(images > 100, np.nan, images), "NaN"),
        (lambda images: images[..., :1], "but the model takes"),
    ],
)
def test_wrong_images_are_refused(model, images, spoil, message):
    with pytest.raises(DataError, match=message):
        attention_maps(model, spoil(images))
