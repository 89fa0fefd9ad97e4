import json
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from vit_keras.data.doctor.check import check, examine
from vit_keras.data.images.read_options import ReadOptions
from vit_keras.errors import DataError, StorageError, TooManyBadFilesError

LENIENT = ReadOptions(max_error_rate=1.0)


@pytest.fixture(scope="module")
def photos():
    return [Image.fromarray(photo) for photo in load_sample_images().images]


@pytest.fixture
def make(tmp_path):
    """Returns a maker of pictures that look like nothing else, and of pictures given."""
    rng = np.random.default_rng(0)

    def made(path, picture=None, **options):
        path = tmp_path / "root" / path
        path.parent.mkdir(parents=True, exist_ok=True)
        if picture is None:
            small = Image.fromarray(rng.integers(0, 256, (6, 8, 3)).astype("uint8"))
            picture = small.resize((80, 60), Image.Resampling.NEAREST)
        picture.save(path, **options)
        return path

    return made


@pytest.fixture
def root(make, tmp_path):
    """A folder in which nothing is the matter."""
    for name in ("cat", "dog"):
        for index in range(12):
            make(f"{name}/{index:02d}.png")
    return tmp_path / "root"


@pytest.fixture
def split_indices(make, tmp_path):
    """A folder with splits in which nothing is the matter."""
    for split, count in (("train", 12), ("val", 3), ("test", 3)):
        for name in ("cat", "dog"):
            for index in range(count):
                make(f"{split}/{name}/{index:02d}.png")
    return tmp_path / "root"


def found(root, reading=LENIENT):
    return {finding.kind: finding for finding in examine(root, reading).findings}


def text_of(root, reading=LENIENT):
    return "\n".join(examine(root, reading).lines())


@pytest.mark.parametrize("folder", ["root", "parted"])
def test_nothing_is_found_where_nothing_is_the_matter(request, folder):
    folder = request.getfixturevalue(folder)
    assert found(folder) == {}
    assert "nothing is the matter" in text_of(folder)


def test_the_lines_tell_counts_sizes_formats_and_where_the_lists_are(parted, make):
    make("train/cat/wide.jpg", Image.linear_gradient("L").resize((300, 90)))
    lines = text_of(parted).splitlines()
    assert lines[0] == f"{parted}: 37 usable images of 2 classes"
    assert lines[1] == "splits       train 25, validation 6, test 6"
    assert lines[2] == "a class      12 (dog) to 13 (cat) images to train on"
    assert lines[3] == "sizes        80x60 to 300x90 px, 80x60 in the middle"
    assert lines[4] == "formats      PNG 36, JPEG 1; RGB 36, L 1"
    assert lines[-2].endswith("manifest.jsonl")
    assert lines[-1].endswith("quarantine.csv")


def test_all_of_it_is_json(parted):
    (parted / "train" / "cat" / "x.png").write_bytes(b"broken")
    given = json.loads(json.dumps(examine(parted, LENIENT).to_dict()))
    assert given["classes"] == {name: {"train": 12, "validation": 3, "test": 3} for name in ("cat", "dog")}
    assert given["usable"] == 36
    assert given["sizes"]["width"] == {"min": 80, "median": 80, "max": 80}
    assert given["quarantined"][0]["path"] == "train/cat/x.png"
    assert [finding["kind"] for finding in given["findings"]] == ["quarantined"]
    assert len(given["fingerprint"]) == 64


def test_files_left_out_are_an_error_with_reasons(root):
    (root / "cat" / "x.png").write_bytes(b"broken")
    finding = found(root)["quarantined"]
    assert (finding.level, finding.files) == ("error", (("cat/x.png",),))
    assert "1 of 25 (4.00%)" in finding.text
    assert "cat/x.png: not an image" in text_of(root)


def test_the_same_file_under_two_labels_is_a_conflict(root):
    shutil.copy(root / "cat" / "03.png", root / "dog" / "same.png")
    findings = found(root)
    assert set(findings) == {"conflict"}
    assert findings["conflict"].level == "error"
    assert findings["conflict"].files == (("cat/03.png", "dog/same.png"),)
    assert "cat/03.png = dog/same.png" in text_of(root)


def test_the_same_file_in_two_splits_is_a_leak(parted):
    shutil.copy(parted / "train" / "cat" / "03.png", parted / "test" / "cat" / "same.png")
    findings = found(parted)
    assert set(findings) == {"leak"}
    assert findings["leak"].level == "error"
    assert findings["leak"].files == (("train/cat/03.png", "test/cat/same.png"),)


def test_a_leak_may_be_a_conflict_too(parted):
    shutil.copy(parted / "train" / "cat" / "03.png", parted / "test" / "dog" / "same.png")
    assert set(found(parted)) == {"leak", "conflict"}


def test_the_same_file_twice_in_a_class_is_noted(root):
    shutil.copy(root / "cat" / "03.png", root / "cat" / "same.png")
    assert {kind: finding.level for kind, finding in found(root).items()} == {"copy": "note"}


def test_look_alikes_are_found_across_splits_and_labels_and_inside(parted, make, photos):
    make("train/cat/a.png", photos[0])
    make("train/cat/b.jpg", photos[0].resize((320, 213)), quality=60)
    make("train/dog/c.jpg", photos[1], quality=95)
    make("train/cat/d.webp", photos[1].resize((300, 200)))
    findings = found(parted)
    assert findings["near copy"].files == (("train/cat/a.png", "train/cat/b.jpg"),)
    assert findings["near conflict"].files == (("train/cat/d.webp", "train/dog/c.jpg"),)
    assert "near leak" not in findings
    make("val/cat/e.jpg", photos[0], quality=80)
    assert found(parted)["near leak"].level == "warning"
    assert found(parted)["near leak"].files[0][-1] == "val/cat/e.jpg"


def test_blank_images_are_not_look_alikes(root, make):
    for index, shade in enumerate(range(40, 200, 20)):
        make(f"cat/blank_{index}.png", Image.new("RGB", (50 + index, 50), (shade, shade, shade)))
    assert not {"near copy", "near conflict"} & set(found(root))


def test_a_class_a_hundred_times_larger_is_told_with_weights(make, tmp_path):
    for index in range(101):
        make(f"many/{index}.png", Image.new("RGB", (8, 8), (index, 0, 0)))
    make("few/0.png", Image.new("RGB", (8, 8), (0, 200, 0)))
    assert "few" in (findings := found(tmp_path / "root"))
    assert "imbalance" in findings
    assert "'many' has 101 images, 'few' 1" in findings["imbalance"].text
    weights = examine(tmp_path / "root", LENIENT).to_dict()["class_weights"]
    assert weights == {"few": 51.0, "many": pytest.approx(102 / 202, abs=1e-4)}
    (tmp_path / "root" / "many" / "0.png").unlink()
    assert "imbalance" not in found(tmp_path / "root")


def test_small_classes_are_counted_in_training_alone(parted):
    for index in range(3):
        (parted / "train" / "dog" / f"{index:02d}.png").unlink()
    assert "'dog' (9)" in found(parted)["few"].text


def test_a_split_without_a_class_is_named(parted):
    shutil.rmtree(parted / "val" / "dog")
    assert "validation has no image of 'dog'" in found(parted)["absent"].text


@pytest.mark.parametrize(
    ("kind", "picture"),
    [
        ("dark", Image.linear_gradient("L").point(lambda value: value // 4)),
        ("bright", Image.linear_gradient("L").point(lambda value: 244 + value // 25)),
        ("flat", Image.new("RGB", (50, 50), "red")),
        ("tiny", Image.radial_gradient("L").resize((31, 40))),
        ("huge", Image.linear_gradient("L").resize((4001, 3000))),
        ("odd size", Image.linear_gradient("L").resize((900, 900))),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_odd_images_are_noted(root, make, kind, picture):
    assert kind not in found(root)
    make("cat/odd.png", picture)
    finding = found(root)[kind]
    assert finding.level == "note"
    assert ("cat/odd.png",) in finding.files


def test_what_most_images_are_is_not_said(make, tmp_path):
    for name in ("cat", "dog"):
        for index in range(10):
            make(f"{name}/{index}.png", Image.new("L", (20, 20), index))
    assert not {"dark", "flat", "tiny"} & set(found(tmp_path / "root"))


def test_what_was_done_on_the_way_is_noted(root, make, photos):
    exif = Image.Exif()
    exif[0x0112] = 6
    make("cat/turned.jpg", photos[0], exif=exif)
    assert any("turned upright (1)" in finding.text for finding in examine(root, LENIENT).findings)


@pytest.mark.skipif(sys.platform == "win32", reason="links are of POSIX")
def test_what_was_passed_over_is_told(root, make, tmp_path):
    (root / "cat" / "link.png").symlink_to(root / "cat" / "00.png")
    (root / "notes.txt").write_text("x")
    make("loose.png")
    make("dog/2024/in.png")
    findings = found(root)
    assert dict(zip(findings["skipped"].files, findings["skipped"].reasons, strict=True)) == {
        ("loose.png",): "in no class folder", ("cat/link.png",): "a symbolic link, not followed",
    }  # fmt: skip
    assert findings["nested"].files == (("dog/2024/in.png",),)
    assert "1 .txt" in findings["ignored"].text
    (tmp_path / "outside").mkdir()
    shutil.copy(root / "cat" / "01.png", tmp_path / "outside" / "other.png")
    (root / "dog" / "away").symlink_to(tmp_path / "outside")
    findings = found(root, replace(LENIENT, follow_links=True))
    assert findings["outside"].files == (("dog/away",),)
    assert "conflict" in findings


def test_errors_come_before_warnings_and_notes(parted):
    shutil.copy(parted / "train" / "cat" / "03.png", parted / "test" / "cat" / "same.png")
    shutil.copy(parted / "train" / "cat" / "04.png", parted / "train" / "cat" / "same.png")
    shutil.rmtree(parted / "val" / "dog")
    levels = [finding.level for finding in examine(parted, LENIENT).findings]
    assert levels == ["error", "warning", "note"]


def test_a_table_is_checked_too(root, tmp_path):
    rows = "\n".join(f"{path.relative_to(root).as_posix()},{path.parent.name}" for path in sorted(root.rglob("*.png")))
    (root / "labels.csv").write_text(f"path,label\n{rows}\n")
    checkup = examine(root / "labels.csv", LENIENT)
    assert len(checkup.manifest) == 24
    assert checkup.findings == ()


def test_too_many_files_left_out_are_refused(root):
    for index in range(2):
        (root / "cat" / f"x{index}.png").write_bytes(b"broken")
    with pytest.raises(TooManyBadFilesError, match="2 of 26 files"):
        check(root)
    assert len(check(root, reading=LENIENT).manifest) == 24


@pytest.mark.parametrize("what", ["quarantined", "conflict", "leak"])
def test_strict_refuses_every_error(parted, what):
    assert check(parted, strict=True).findings == ()
    source = parted / "train" / "cat" / "03.png"
    if what == "quarantined":
        (parted / "train" / "cat" / "x.png").write_bytes(b"broken")
    else:
        shutil.copy(source, parted / ("train/dog" if what == "conflict" else "test/cat") / "same.png")
    check(parted)
    with pytest.raises(DataError, match=r"files that can't be used|more than one label|more than one split"):
        check(parted, strict=True)


def test_a_report_is_written_before_anything_is_refused(root, tmp_path):
    for index in range(2):
        (root / "cat" / f"x{index}.png").write_bytes(b"broken")
    with pytest.raises(TooManyBadFilesError):
        check(root, report=tmp_path / "report.html")
    assert (tmp_path / "report.html").stat().st_size > 1000


def test_a_report_that_exists_is_refused_before_anything_is_read(root, tmp_path, monkeypatch):
    (tmp_path / "report.html").write_text("mine")
    monkeypatch.setattr("vit_keras.data.sources.folder.scan", lambda *_, **__: pytest.fail("scanned"))
    with pytest.raises(StorageError, match=r"report\.html exists"):
        check(root, report=tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text() == "mine"


def test_a_data_set_of_which_nothing_is_left_is_told_not_crashed_on(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.png").write_bytes(b"broken")
    checkup = examine(tmp_path, LENIENT)
    assert "0 usable images" in next(checkup.lines())
    assert json.dumps(checkup.to_dict())
    with pytest.raises(TooManyBadFilesError, match=r"no image of \['cat', 'dog'\]"):
        checkup.enforce(LENIENT)


def test_checking_needs_neither_keras_nor_tensorflow(root):
    code = (
        "import sys; from vit_keras.data.doctor.checkup import check; "
        f"check({str(root)!r}); print(sorted({{'keras', 'tensorflow', 'matplotlib'}} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
