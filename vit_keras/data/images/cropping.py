"""Random resized crops: which part of an image a training step sees."""

import math

import numpy as np

_TRIES = 10


def random_box(
    size: tuple[int, int], rng: np.random.Generator, *, scale: tuple[float, float], ratio: tuple[float, float]
) -> tuple[int, int, int, int]:
    """Draws a box (left, top, right, bottom; px) in an image: uniform in area and position, log-uniform in aspect ratio.

    Paper: Szegedy et al. 2015, arXiv 1409.4842, section 6. Ten tries, then the center: torchvision's rule. `size` is width and
    height, px; `scale` the range of the area, fractions of the image's; `ratio` the range of width to height.
    """
    width, height = size
    lowest, highest = math.log(ratio[0]), math.log(ratio[1])
    for area_draw, ratio_draw, left_draw, top_draw in rng.random((_TRIES, 4)).tolist():
        area = width * height * (scale[0] + (scale[1] - scale[0]) * area_draw)
        root = math.exp((lowest + (highest - lowest) * ratio_draw) / 2)
        box_width, box_height = round(math.sqrt(area) * root), round(math.sqrt(area) / root)
        if 0 < box_width <= width and 0 < box_height <= height:
            left = int(left_draw * (width - box_width + 1))
            top = int(top_draw * (height - box_height + 1))
            return left, top, left + box_width, top + box_height
    box_width = min(width, max(1, round(height * ratio[1])))
    box_height = min(height, max(1, round(width / ratio[0])))
    left, top = (width - box_width) // 2, (height - box_height) // 2
    return left, top, left + box_width, top + box_height
