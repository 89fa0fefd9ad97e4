import numpy as np
import pytest
from PIL import Image

from vit_keras.data.augment.sheets import draw_sheet, fit_title
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


def test_long_titles_stay_above_their_image(tmp_path):
    """What one title draws must not reach the column beside it, which is white."""
    image = np.full((8, 8, 3), 255, "uint8")
    for number, title in enumerate(
        ("W" * 60, "a_very_long_class_name_of_a_bird_nobody_knows", "52% long name, 48% other name $x$")
    ):
        draw_sheet([image], [[image]], [[title, ""]], tmp_path / f"{number}.png")
        drawn = np.asarray(Image.open(tmp_path / f"{number}.png").convert("L"))
        assert drawn[:, : drawn.shape[1] // 2].min() < 128
        assert drawn[:, drawn.shape[1] // 2 :].min() == 255


def test_a_title_is_wrapped_then_cut_and_a_short_one_left_as_it_is():
    assert fit_title("97% flower", 1.5) == "97% flower"
    first, second = fit_title("52% a long class name, 48% another one", 1.5).splitlines()
    assert f"{first} {second}" == "52% a long class name, 48% another one"
    assert fit_title("W" * 99, 1.5).endswith("…")
    assert fit_title("", 1.5) == ""
