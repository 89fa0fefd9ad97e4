import numpy as np
import pytest
from PIL import Image

from vit_keras.data.augment.sheets import draw_sheet
from vit_keras.errors import InvalidArgumentError


@pytest.mark.parametrize(("name", "channels"), [("sheet.png", 1), ("sheet.jpg", 3)])
def test_a_sheet_shows_every_image_in_its_place(tmp_path, name, channels):
    grays = np.array([[20, 90, 160], [200, 120, 40]])
    cells = grays[..., None, None, None] * np.ones((8, 12, channels))
    originals, variants = [row[0].astype("uint8") for row in cells], [list(row[1:].astype("float32")) for row in cells]
    draw_sheet(originals, variants, [["", "", ""]] * 2, tmp_path / name)
    sheet = np.asarray(Image.open(tmp_path / name).convert("L")).astype(int)
    rows, columns = (np.array_split(np.arange(side), parts) for side, parts in zip(sheet.shape, (2, 3), strict=True))
    for row, column in np.ndindex(2, 3):
        middle = sheet[rows[row][len(rows[row]) // 2], columns[column][len(columns[column]) // 2]]
        assert abs(middle - grays[row, column]) <= 3


def test_titles_stand_above_the_images(tmp_path):
    image = np.full((8, 8, 3), 255, "uint8")
    for title in ("", "97% flower"):
        draw_sheet([image], [[image]], [[title, ""]], tmp_path / f"{len(title)}.png")
    without, with_title = (np.asarray(Image.open(tmp_path / f"{length}.png").convert("L")) for length in (0, 10))
    assert without.min() == 255
    assert with_title[:, : with_title.shape[1] // 2].min() < 128
    assert with_title[:, with_title.shape[1] // 2 :].min() == 255


@pytest.mark.parametrize(
    ("originals", "variants", "titles"),
    [(0, [], []), (1, [2], [2]), (2, [1, 2], [2, 3]), (1, [1, 1], [2, 2])],
)
def test_rows_that_do_not_match_are_an_error(tmp_path, originals, variants, titles):
    image = np.zeros((4, 4, 3), "uint8")
    rows = [[image] * count for count in variants], [["title"] * count for count in titles]
    with pytest.raises(InvalidArgumentError, match="the same number of variants"):
        draw_sheet([image] * originals, *rows, tmp_path / "sheet.png")
