import json
import shutil

import pytest
from PIL import Image

from vit_keras.data import ReadOptions
from vit_keras.data.doctor.check import check, examine
from vit_keras.errors import DataError, StorageError, TooManyBadFilesError

LENIENT = ReadOptions(max_error_rate=1.0)


@pytest.mark.parametrize("folder", ["root", "splits"])
def test_a_good_data_set_has_no_findings(request, folder):
    checkup = check(request.getfixturevalue(folder), strict=True)
    assert checkup.findings == ()
    assert "no problems found" in list(checkup.lines())
    assert "no problems found" in checkup._repr_html_()
    assert repr(checkup) == f"Checkup(source={checkup.source!r})"  # not its arrays


def test_the_lines_give_counts_sizes_formats_and_files_and_errors_come_first(splits, make):
    make("train/cat/wide.jpg", Image.linear_gradient("L").resize((300, 90)))
    shutil.copy(splits / "train" / "cat" / "03.png", splits / "test" / "cat" / "same.png")
    shutil.copy(splits / "train" / "cat" / "04.png", splits / "train" / "cat" / "same.png")
    shutil.rmtree(splits / "val" / "dog")
    checkup = examine(splits, LENIENT)
    assert [finding.level for finding in checkup.findings] == ["error", "warning", "note"]
    lines = list(checkup.lines())
    assert lines[:5] == [
        f"{splits}: 36 usable images in 2 classes",
        "splits       train 26, validation 3, test 7",
        "per class    12 (dog) to 14 (cat) training images",
        "sizes        160x90 to 300x120 px, median 160x120",
        "formats      PNG 35, JPEG 1; RGB 35, L 1",
    ]
    assert any(line.strip() == "train/cat/03.png = test/cat/same.png" for line in lines)
    assert lines[-1].endswith("manifest.jsonl")
    ready = "ready to train: 36 images in 2 classes; but look at the 1 error and the 1 warning above"
    assert checkup.verdict(LENIENT) == ready
    assert checkup.verdict(LENIENT, strict=True).startswith("not ready to train")


def test_the_result_is_json(splits):
    (splits / "train" / "cat" / "x.png").write_bytes(b"broken")
    checkup = examine(splits, LENIENT)
    given = json.loads(json.dumps(checkup.to_dict()))
    assert given["classes"] == {name: {"train": 12, "validation": 3, "test": 3} for name in ("cat", "dog")}
    assert given["usable"] == 36
    assert given["sizes"]["width"] == {"min": 160, "median": 160, "max": 160}
    assert given["quarantined"][0]["path"] == "train/cat/x.png"
    assert [finding["kind"] for finding in given["findings"]] == ["quarantined"]
    assert len(given["fingerprint"]) == 64
    assert any("train/cat/x.png: not a supported image" in line for line in checkup.lines())


def test_a_table_is_checked(root):
    rows = "\n".join(f"{path.relative_to(root).as_posix()},{path.parent.name}" for path in sorted(root.rglob("*.png")))
    (root / "labels.csv").write_text(f"path,label\n{rows}\n")
    checkup = examine(root / "labels.csv", LENIENT)
    assert len(checkup.manifest) == 24
    assert checkup.findings == ()


def test_too_many_unusable_files_are_an_error_after_the_report_is_written(root, tmp_path):
    for index in range(2):
        (root / "cat" / f"x{index}.png").write_bytes(b"broken")
    with pytest.raises(TooManyBadFilesError, match="2 of 26 files"):
        check(root, report=tmp_path / "report.html")
    assert (tmp_path / "report.html").stat().st_size > 1000
    assert len(check(root, reading=LENIENT).manifest) == 24


def test_strict_makes_every_finding_of_level_error_an_error(splits):
    for copy, message in (
        ("test/cat/same.png", "more than one split"),
        ("train/dog/same.png", "more than one label"),
        ("train/cat/x.png", "unusable files"),
    ):
        shutil.copy(splits / "train" / "cat" / "03.png", splits / copy)
        if "unusable" in message:
            (splits / copy).write_bytes(b"broken")
        check(splits)
        with pytest.raises(DataError, match=message):
            check(splits, strict=True)
        (splits / copy).unlink()


def test_an_existing_report_is_an_error_before_anything_is_read(root, tmp_path, monkeypatch):
    (tmp_path / "report.html").write_text("mine")
    monkeypatch.setattr("vit_keras.data.sources.folder.scan", lambda *_, **__: pytest.fail("scanned"))
    with pytest.raises(StorageError, match=r"report\.html exists"):
        check(root, report=tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text() == "mine"


def test_a_data_set_without_a_usable_image_has_a_result(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.png").write_bytes(b"broken")
    checkup = examine(tmp_path, LENIENT)
    assert "0 usable images" in next(checkup.lines())
    assert json.dumps(checkup.to_dict())
    with pytest.raises(TooManyBadFilesError, match=r"no image of cat, dog"):
        checkup.enforce(LENIENT)
