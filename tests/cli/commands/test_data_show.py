import pytest
from PIL import Image


def test_show_draws_the_training_images_beside_what_training_makes_of_them(image_folder, tmp_path, run):
    code, out, _ = run(
        "data", "show", image_folder, "--augment", "strong", "--image-size", 16, "--out", tmp_path / "sheet.png"
    )
    assert code == 0
    assert "sheet.png" in out
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size[0] > sheet.size[1] / 2 > 100


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (
            ("--augment", "extreme"),
            2,
            "There is no augmentation 'extreme': expected one of none, moved, light, medium, strong, 3-augment",
        ),
        (("--image-size", "0"), 3, "image_size=0"),
        (("--out", "sheet.xyz"), 6, "could not be written"),
    ],
)
def test_show_refuses_what_it_cannot_draw(image_folder, tmp_path, monkeypatch, run, arguments, code, told):
    monkeypatch.chdir(tmp_path)
    ended, _, err = run("data", "show", image_folder, "--image-size", "16", *arguments)
    assert ended == code
    assert told in err


def test_show_overwrites_nothing(image_folder, tmp_path, run):
    (tmp_path / "sheet.png").write_bytes(b"mine")
    code, _, err = run("data", "show", image_folder, "--out", tmp_path / "sheet.png")
    assert code == 6
    assert "nothing is overwritten" in err
    assert (tmp_path / "sheet.png").read_bytes() == b"mine"
