"""A figure that a notebook shows."""

import io

from PIL import Image

from vit_keras.reporting.pictures import Picture


def test_a_notebook_gets_a_png() -> None:
    picture = Picture(2, 1)
    picture.subplots().plot([0, 1])
    image = Image.open(io.BytesIO(picture._repr_png_()))
    assert image.format == "PNG"
    assert image.size == (200, 100)
    assert len(set(image.convert("L").tobytes())) > 2
