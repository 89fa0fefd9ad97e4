"""Random resized crops: which part of an image a training step sees."""

import math

import numpy as np

_TRIES = 10


def random_box(
    size: tuple[int, int], rng: np.random.Generator, *, scale: tuple[float, float], ratio: tuple[float, float]
) -> tuple[int, int, int, int]:
    """Returns a part of an image, drawn: its area uniform, its proportions log-uniform, its place uniform.

    Paper: Szegedy et al. 2015, arXiv 1409.4842, section 6; ten tries and the fallback to the middle are torchvision's.

    Args:
        size: Width and height of the image, px.
        rng: What draws.
        scale: Least and largest area, fractions of the image's.
        ratio: Least and largest width to height.

    Returns:
        Left, top, right and bottom, px.

    Example:
        >>> random_box((100, 50), np.random.default_rng(0), scale=(1.0, 1.0), ratio=(2.0, 2.0))
        (0, 0, 100, 50)
    """
    width, height = size
    draws = rng.random((_TRIES, 4)).tolist()
    lowest, highest = math.log(ratio[0]), math.log(ratio[1])
    for area_draw, ratio_draw, left_draw, top_draw in draws:
        area = width * height * (scale[0] + (scale[1] - scale[0]) * area_draw)
        root = math.exp((lowest + (highest - lowest) * ratio_draw) / 2)
        part_width, part_height = round(math.sqrt(area) * root), round(math.sqrt(area) / root)
        if 0 < part_width <= width and 0 < part_height <= height:
            left = int(left_draw * (width - part_width + 1))
            top = int(top_draw * (height - part_height + 1))
            return left, top, left + part_width, top + part_height
    part_width = min(width, max(1, round(height * ratio[1])))
    part_height = min(height, max(1, round(width / ratio[0])))
    left, top = (width - part_width) // 2, (height - part_height) // 2
    return left, top, left + part_width, top + part_height
