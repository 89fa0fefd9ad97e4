import shutil
import sys
from dataclasses import replace

import pytest
from data.pictures import tagged
from PIL import Image
from sklearn.datasets import load_sample_images

from vit_keras.data import ReadOptions
from vit_keras.data.doctor.check import examine

LENIENT = ReadOptions(max_error_rate=1.0)


@pytest.fixture(scope="module")
def photos():
    return [Image.fromarray(photo) for photo in load_sample_images().images]


def found(root, reading=LENIENT):
    return {finding.kind: finding for finding in examine(root, reading).findings}


def test_unusable_files_are_an_error_with_reasons(root):
    (root / "cat" / "x.png").write_bytes(b"broken")
    finding = found(root)["quarantined"]
    assert (finding.level, finding.files) == ("error", (("cat/x.png",),))
    assert "1 of 25 (4.00%)" in finding.text
    assert finding.reasons[0].startswith("not a supported image")


@pytest.mark.parametrize(
    ("copy", "kinds"),
    [
        ("train/dog/same.png", {"conflict": "error"}),
        ("test/cat/same.png", {"leak": "error"}),
        ("test/dog/same.png", {"conflict": "error", "leak": "error"}),
        ("train/cat/same.png", {"copy": "note"}),
    ],
)
def test_copies_of_a_file_are_found(splits, copy, kinds):
    shutil.copy(splits / "train" / "cat" / "03.png", splits / copy)
    findings = found(splits)
    assert {kind: finding.level for kind, finding in findings.items()} == kinds
    assert {frozenset(*finding.files) for finding in findings.values()} == {frozenset(["train/cat/03.png", copy])}


def test_near_duplicates_are_found_across_splits_and_labels_and_in_a_class(splits, make, photos):
    make("train/cat/a.png", photos[0])
    make("train/cat/b.jpg", photos[0].resize((320, 213)), quality=60)
    make("train/dog/c.jpg", photos[1], quality=95)
    make("train/cat/d.webp", photos[1].resize((300, 200)))
    findings = found(splits)
    assert findings["near copy"].files == (("train/cat/a.png", "train/cat/b.jpg"),)
    assert findings["near conflict"].files == (("train/cat/d.webp", "train/dog/c.jpg"),)
    assert "near leak" not in findings
    make("val/cat/e.jpg", photos[0], quality=80)
    near_leak = found(splits)["near leak"]
    assert (near_leak.level, near_leak.files[0][-1]) == ("warning", "val/cat/e.jpg")


def test_blank_images_are_no_near_duplicates_and_properties_of_most_images_not_reported(make, tmp_path):
    for name in ("cat", "dog"):
        for index in range(10):
            make(f"{name}/{index}.png", Image.new("L", (20 + index, 20), index + 30 * (name == "dog")))
    assert not {"near copy", "near conflict", "dark", "flat", "tiny"} & set(found(tmp_path / "root"))


def test_imbalance_is_reported_with_class_weights(make, tmp_path):
    for index in range(101):
        make(f"many/{index}.png", Image.new("RGB", (8, 8), (index, 0, 0)))
    make("few/0.png", Image.new("RGB", (8, 8), (0, 200, 0)))
    findings = found(tmp_path / "root")
    assert "few" in findings
    assert "'many' has 101 images, 'few' 1" in findings["imbalance"].text
    weights = examine(tmp_path / "root", LENIENT).to_dict()["class_weights"]
    assert weights == {"few": 51.0, "many": pytest.approx(102 / 202, abs=1e-4)}
    (tmp_path / "root" / "many" / "0.png").unlink()
    assert "imbalance" not in found(tmp_path / "root")


def test_small_and_absent_classes_are_reported_per_split(splits):
    for index in range(3):
        (splits / "train" / "dog" / f"{index:02d}.png").unlink()
    shutil.rmtree(splits / "val" / "dog")
    findings = found(splits)
    assert "'dog' (9)" in findings["few"].text
    assert "the validation split has no image of 'dog'" in findings["absent"].text


def test_images_unlike_the_others_are_noted(root, make):
    gradient = Image.linear_gradient("L")
    odd = {
        "dark": gradient.point(lambda value: value // 4),
        "bright": gradient.point(lambda value: 244 + value // 25),
        "flat": Image.new("RGB", (50, 50), "red"),
        "tiny": Image.radial_gradient("L").resize((31, 40)),
        "huge": gradient.resize((4001, 3000)),
        "odd size": gradient.resize((900, 900)),
    }
    assert not set(odd) & set(found(root))
    for kind, picture in odd.items():
        make(f"cat/{kind}.png", picture)
    findings = found(root)
    for kind in odd:
        assert (findings[kind].level, (f"cat/{kind}.png",) in findings[kind].files) == ("note", True), kind


def test_conversions_are_noted(root, make, photos):
    make("cat/turned.jpg", photos[0], exif=tagged(6))
    assert found(root)["note"].text == "rotated upright (Exif): 1."


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX links")
def test_skipped_files_are_reported(root, make, tmp_path):
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
