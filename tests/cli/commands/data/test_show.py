import pytest
from PIL import Image


def test_show_draws_the_training_images_beside_what_training_makes_of_them(image_folder, tmp_path, run):
    options = ("--augment", "strong", "--image-size", 16, "--out", tmp_path / "sheet.png")
    code, out, _ = run("data", "show", image_folder, *options)
    assert (code, "sheet.png" in out) == (0, True)
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size[0] > sheet.size[1] / 2 > 100


@pytest.mark.parametrize(
    ("task", "labels"), [("multi_label", ["cat|dog", "dog", ""]), ("regression", ["0.5", "2", "-1"])]
)
def test_show_draws_the_images_of_a_table(image_folder, tmp_path, run, task, labels):
    rows = [
        f"{path.stem},{path.parent.name}/{path.name},{labels[place % 3]}"
        for place, path in enumerate(image_folder.rglob("*.png"))
    ]
    (tmp_path / "table.csv").write_text("\n".join(["number,where,what", *rows]))
    options = ("--image-dir", image_folder, "--image-column", "where", "--label-column", "what", "--image-size", 16)
    code, out, _ = run("data", "show", tmp_path / "table.csv", *options, "--out", tmp_path / "sheet.png")
    assert (code, (tmp_path / "sheet.png").is_file()) == (0, True)
    assert {"multi_label": "several classes per image", "regression": "target of a regression"}[task] in out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--augment", "extreme"), 2, "There is no augmentation 'extreme': expected one of none, moved, light, "),
        (("--image-size", "0"), 3, "--image-size 0"),
        (("--out", "sheet.xyz"), 6, "could not be written"),
        (("--out", "mine.png"), 6, "nothing is overwritten"),
    ],
)
def test_show_refuses_what_it_cannot_draw(image_folder, tmp_path, monkeypatch, refused, arguments, code, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.png").write_bytes(b"mine")
    refused(code, message, "data", "show", image_folder, "--image-size", "16", *arguments)
    assert (tmp_path / "mine.png").read_bytes() == b"mine"
