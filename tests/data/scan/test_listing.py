import os
import sys
import unicodedata

import numpy as np
import pytest

from vit_keras.data.images.signatures import USUAL_SUFFIXES
from vit_keras.data.scan.listing import list_folder
from vit_keras.data.split_names import SPLITS
from vit_keras.errors import ClassLayoutError, DataError, EmptyDatasetError, StorageError

posix = pytest.mark.skipif(sys.platform == "win32", reason="links and pipes are of POSIX")
linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has names that are no text")


@pytest.fixture
def make(tmp_path):
    """Returns a maker of files that are images by name alone: nothing here is opened."""

    def made(*paths, root=tmp_path / "root"):
        for path in paths:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(b"")
        return root

    return made


@pytest.fixture(autouse=True)
def never_opened(monkeypatch):
    """Listing a folder opens none of its files whose names say that they are images."""
    opened = os.open

    def refused(path, *arguments, **keywords):
        if str(path).lower().endswith(USUAL_SUFFIXES):
            raise AssertionError("a file was opened")
        return opened(path, *arguments, **keywords)

    monkeypatch.setattr("os.open", refused)
    monkeypatch.setattr("PIL.Image.open", refused)


def listed(root, **options):
    listing = list_folder(root, **options)
    assert len(listing.paths) == len(listing.labels) == len(listing.splits)
    return {
        path: (listing.class_names[label], SPLITS[split] if split >= 0 else None)
        for path, label, split in zip(listing.paths, listing.labels, listing.splits, strict=True)
    }


def test_class_folders_are_listed_in_order(make):
    listing = list_folder(make("owl/b.png", "owl/a.jpg", "cat/c.JPEG"))
    assert listing.class_names == ("cat", "owl")
    assert listing.paths == ["cat/c.JPEG", "owl/a.jpg", "owl/b.png"]
    assert listing.labels.tolist() == [0, 1, 1]
    assert listing.splits.tolist() == [-1, -1, -1]
    assert (listing.labels.dtype, listing.splits.dtype) == (np.dtype("int32"), np.dtype("int8"))
    assert (listing.rejected, listing.skipped, listing.ignored, listing.outside) == ((), (), {}, ())


def test_split_folders_are_listed_with_their_splits(make):
    root = make("train/a/1.png", "train/b/1.png", "Val/b/1.png", "test/a/1.png")
    assert listed(root) == {
        "train/a/1.png": ("a", "train"),
        "train/b/1.png": ("b", "train"),
        "Val/b/1.png": ("b", "validation"),
        "test/a/1.png": ("a", "test"),
    }


def test_folders_beside_the_splits_are_named(make):
    listing = list_folder(make("train/a/1.png", "train/b/1.png", "extra/a/1.png"))
    assert len(listing.paths) == 2
    assert listing.skipped == (("extra", "a folder beside the splits"),)


def test_a_class_may_be_called_train(make):
    assert set(listed(make("train/1.png", "bus/1.png", "test/1.png")).values()) == {
        ("train", None), ("bus", None), ("test", None),
    }  # fmt: skip


def test_images_of_other_formats_are_rejected_by_name(make):
    names = ["a.dng", "b.HEIC", "c.avif", "d.jxl", "e.svg"]
    listing = list_folder(make("cat/1.png", "dog/1.png", *(f"cat/{name}" for name in names)))
    assert [path for path, _ in listing.rejected] == [f"cat/{name}" for name in names]
    assert all("unsupported format" in reason for _, reason in listing.rejected)


@pytest.mark.parametrize("name", ["été 猫 😀.png", "a b.png", "n\new.png", "quo\"te'.png", "100%{x}.png", "=1+1.png"])
def test_any_name_is_listed(make, name):
    assert f"cat/{name}" in listed(make(f"cat/{name}", "dog/1.png"))


@pytest.mark.parametrize("name", ["<script>alert(1)<", "a'b\"c", "%s {0}", "猫"])
def test_any_class_name_is_listed(make, name):
    assert list_folder(make(f"{name}/1.png", "zoo/1.png")).class_names == tuple(sorted((name, "zoo")))


@linux
def test_a_name_that_is_no_text_is_rejected_and_the_others_are_listed(make):
    name = os.fsdecode(b"caf\xe9.png")
    listing = list_folder(make("cat/1.png", f"cat/{name}", "dog/1.png"))
    assert listing.paths == ["cat/1.png", "dog/1.png"]
    ((path, reason),) = listing.rejected
    assert path == f"cat/{name}"
    assert "no text" in reason


@linux
def test_a_class_folder_whose_name_is_no_text_is_refused_with_its_name_spelled_out(make):
    root = make(f"{os.fsdecode(bytes([0xE9]))}/1.png", "dog/1.png")
    with pytest.raises(ClassLayoutError, match=r"'\\udce9'"):
        list_folder(root)


@pytest.mark.parametrize(
    "names", [("Cat", "cat"), ("caf\u00e9", "cafe\u0301"), ("stra\u00dfe", "STRASSE"), ("a", "a ")]
)
def test_classes_that_look_alike_are_refused_and_both_are_named(make, names):
    root = make(*(f"{name}/1.png" for name in (*names, "dog")))
    if len(list(root.iterdir())) < 3:
        pytest.skip("this file system does not tell such names apart")
    with pytest.raises(ClassLayoutError, match="differ only in case or in the spelling of accents") as caught:
        list_folder(root)
    assert all(repr(unicodedata.normalize("NFC", name)) in str(caught.value) for name in names)
    assert "dog" not in str(caught.value)


def test_classes_that_look_alike_are_refused_in_every_split(make):
    root = make("train/caf\u00e9/1.png", "train/b/1.png", "test/caf\u00e9/1.png", "test/cafe\u0301/2.png")
    with pytest.raises(ClassLayoutError, match="test: some class folders differ only"):
        list_folder(root)


def test_what_systems_leave_behind_is_ignored_and_counted(make):
    junk = ["cat/._1.png", ".git/1.png", "cat/.DS_Store", "__MACOSX/cat/1.png", "cat/Thumbs.db", "desktop.ini"]
    listing = list_folder(make("cat/1.png", "dog/1.png", "cat/notes.txt", "dog/README", *junk))
    assert listing.paths == ["cat/1.png", "dog/1.png"]
    assert listing.ignored == {
        "hidden": 3, "__MACOSX": 1, "Thumbs.db": 1, "desktop.ini": 1, ".txt": 1, "without ending": 1,
    }  # fmt: skip


@posix
def test_links_are_not_followed_but_named(make, tmp_path):
    make("1.png", root=tmp_path / "outside")
    root = make("cat/1.png", "dog/1.png")
    (root / "owl").symlink_to(tmp_path / "outside")
    (root / "cat" / "loop").symlink_to(root)
    (root / "cat" / "link.png").symlink_to(tmp_path / "outside" / "1.png")
    (root / "cat" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    listing = list_folder(root)
    assert listing.class_names == ("cat", "dog")
    assert listing.paths == ["cat/1.png", "dog/1.png"]
    assert sorted(listing.skipped) == [
        (path, "a symbolic link, not followed") for path in ("cat/gone.png", "cat/link.png", "cat/loop", "owl")
    ]


@posix
def test_links_are_followed_where_asked_each_file_once_and_loops_end(make, tmp_path):
    make("in/2.png", "3.png", root=tmp_path / "outside")
    root = make("cat/1.png", "dog/1.png", "zebra/1.png")
    (root / "ant").symlink_to(tmp_path / "outside")
    (root / "bee").symlink_to(root)
    (root / "cat" / "loop").symlink_to(root)
    (root / "cat" / "self").symlink_to(root / "cat" / "self")
    (root / "cat" / "zebra").symlink_to(root / "zebra")
    (root / "cat" / "again.png").symlink_to(root / "dog" / "1.png")
    (root / "dog" / "new.png").symlink_to(tmp_path / "outside" / "3.png")
    (root / "dog" / "more").symlink_to(tmp_path / "outside" / "in")
    (root / "dog" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    os.link(root / "dog" / "1.png", root / "zebra" / "hard.png")
    listing = list_folder(root, follow_links=True)
    assert listing.class_names == ("ant", "cat", "dog", "zebra")
    assert sorted(listing.paths) == ["ant/3.png", "ant/in/2.png", "cat/1.png", "dog/1.png", "zebra/1.png"]
    reasons = dict(listing.skipped)
    assert reasons["dog/gone.png"] == "a link that leads nowhere"
    assert reasons["cat/self"] == "a link that leads nowhere"
    assert {path for path, reason in listing.skipped if reason == "a link to what is listed already"} == {
        "bee", "cat/again.png", "cat/loop", "cat/zebra", "dog/more", "dog/new.png", "zebra/hard.png",
    }  # fmt: skip


@posix
def test_links_out_of_the_folder_are_named_when_followed(make, tmp_path):
    make("1.png", root=tmp_path / "outside")
    root = make("cat/1.png", "dog/1.png", "dog/b/2.png")
    (root / "cat" / "away").symlink_to(tmp_path / "outside")
    (root / "cat" / "near.png").symlink_to(root / "dog" / "b" / "2.png")
    make("2.png", root=tmp_path / "far")
    (root / "owl").symlink_to(tmp_path / "far")
    listing = list_folder(root, follow_links=True)
    assert {"cat/away/1.png", "owl/2.png"} < set(listing.paths)
    assert sorted(listing.outside) == ["cat/away", "owl"]


@posix
def test_pipes_and_devices_are_passed_over(make):
    root = make("cat/1.png", "dog/1.png")
    os.mkfifo(root / "cat" / "pipe.png")
    os.mkfifo(root / "pipe.png")
    listing = list_folder(root)
    assert listing.paths == ["cat/1.png", "dog/1.png"]
    assert dict(listing.skipped) == dict.fromkeys(["cat/pipe.png", "pipe.png"], "neither a file nor a folder")


def test_a_folder_with_the_name_of_an_image_is_a_folder(make):
    assert listed(make("cat/x.jpg/1.png", "dog/1.png")) == {
        "cat/x.jpg/1.png": ("cat", None),
        "dog/1.png": ("dog", None),
    }


def test_very_deep_folders_are_walked(make):
    deep = "cat/" + "d/" * 900
    root = make("cat/1.png", "dog/1.png")
    os.makedirs(root / deep)
    (root / deep / "2.png").write_bytes(b"")
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(400)
    try:
        assert f"{deep}2.png" in listed(root)
    finally:
        sys.setrecursionlimit(limit)


def refuse(monkeypatch, folder, error):
    scandir = os.scandir

    def refusing(path):
        if os.fspath(path) == os.fspath(folder):
            raise error
        return scandir(path)

    monkeypatch.setattr("os.scandir", refusing)


def test_a_folder_that_cannot_be_read_is_rejected_and_the_others_are_listed(make, monkeypatch):
    root = make("cat/1.png", "cat/in/2.png", "cat/out/3.png", "dog/1.png")
    refuse(monkeypatch, root / "cat" / "in", PermissionError(13, "Permission denied"))
    listing = list_folder(root)
    assert listing.paths == ["cat/1.png", "cat/out/3.png", "dog/1.png"]
    assert listing.rejected == (("cat/in", "permission denied"),)


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError(5, "Input/output error")])
def test_a_class_that_cannot_be_read_is_refused(make, monkeypatch, error):
    root = make("cat/1.png", "dog/1.png")
    refuse(monkeypatch, root / "cat", error)
    with pytest.raises(DataError, match=rf"cat: this class folder could not be read \({error.strerror}\)"):
        list_folder(root)


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError(5, "Input/output error")])
def test_a_root_that_cannot_be_read_is_a_storage_error(make, monkeypatch, error):
    root = make("cat/1.png", "dog/1.png")
    refuse(monkeypatch, root, error)
    with pytest.raises(StorageError, match="root: could not be read"):
        list_folder(root)


@pytest.mark.parametrize("name", ["nowhere", "file"])
def test_no_folder_is_refused(tmp_path, name):
    (tmp_path / "file").write_text("text")
    with pytest.raises(DataError, match=f"{name}: there is no such folder"):
        list_folder(tmp_path / name)


def test_an_empty_folder_is_empty_and_shows_the_layout(tmp_path):
    with pytest.raises(
        EmptyDatasetError, match=r"(?s)found \[\].*cat/\n\s+one\.jpg.*JPEG, PNG, .* TIFF files are read"
    ):
        list_folder(tmp_path)


def test_class_folders_without_images_are_empty_and_what_is_there_is_told(make):
    with pytest.raises(EmptyDatasetError, match=r"no image in any class folder; expected JPEG, .*found 2 \.txt"):
        list_folder(make("cat/a.txt", "dog/b.txt"))


def test_one_empty_class_is_refused_or_left_out(make):
    root = make("cat/1.png", "dog/1.png", "owl/notes.txt", "yak/notes.txt")
    with pytest.raises(ClassLayoutError, match=r"owl: no image in this class folder.*drop empty classes.*\['yak'\]"):
        list_folder(root)
    listing = list_folder(root, drop_empty_classes=True)
    assert listing.class_names == ("cat", "dog")
    assert listing.labels.tolist() == [0, 1]


def test_labels_close_up_where_a_class_is_left_out(make):
    root = make("ant/a.txt", "cat/1.png", "dog/a.txt", "owl/1.png")
    assert listed(root, drop_empty_classes=True) == {"cat/1.png": ("cat", None), "owl/1.png": ("owl", None)}


def test_a_class_empty_in_a_split_alone_stays_a_class(make):
    root = make("train/a/1.png", "train/b/1.png", "test/a/1.png", "test/b/x.txt")
    with pytest.raises(ClassLayoutError, match="b: no image in this class folder"):
        list_folder(root)
    assert list_folder(root, drop_empty_classes=True).class_names == ("a", "b")


def test_a_class_left_out_of_training_may_not_be_tested(make):
    root = make("train/a/1.png", "train/b/1.png", "train/c/x.txt", "test/c/1.png")
    with pytest.raises(ClassLayoutError, match="'c' has images, but none to train on"):
        list_folder(root, drop_empty_classes=True)


def test_leaving_out_may_not_leave_one_class(make):
    with pytest.raises(ClassLayoutError, match=r"two classes with images are needed, found \['a'\]"):
        list_folder(make("a/1.png", "b/x.txt"), drop_empty_classes=True)


def test_a_class_of_images_that_are_not_read_is_not_empty(make):
    listing = list_folder(make("cat/1.png", "dog/1.heic"))
    assert listing.class_names == ("cat", "dog")
    assert [path for path, _ in listing.rejected] == ["dog/1.heic"]


def test_one_class_is_refused(make):
    with pytest.raises(ClassLayoutError, match=r"two class folders or more are needed, found \['a'\]"):
        list_folder(make("a/1.png"))


def test_a_folder_around_the_classes_is_seen_through(make):
    with pytest.raises(ClassLayoutError, match=r"photos holds folders itself: is it that one\?"):
        list_folder(make("photos/cat/1.png", "photos/dog/1.png"))


def test_loose_images_alone_are_refused_with_the_layout(make):
    with pytest.raises(ClassLayoutError, match=r"(?s)2 images beside them.*root/CLASS/image\.jpg.*cat/\n"):
        list_folder(make("1.png", "2.jpg"))


def test_loose_images_beside_classes_are_named(make):
    listing = list_folder(make("cat/1.png", "dog/1.png", "3.png", "notes.txt"))
    assert listing.paths == ["cat/1.png", "dog/1.png"]
    assert listing.skipped == (("3.png", "in no class folder"),)
    listing = list_folder(make("train/a/1.png", "train/b/1.png", "train/2.png", root=listing.root.parent / "other"))
    assert listing.skipped == (("train/2.png", "in no class folder"),)


def test_folders_in_class_folders_belong_to_the_class(make):
    assert set(listed(make("cat/1.png", "cat/2024/may/2.png", "dog/1.png"))) == {
        "cat/1.png", "cat/2024/may/2.png", "dog/1.png",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("paths", "told"),
    [
        (["val/a/1.png", "test/a/1.png"], "no train folder"),
        (["train/a/1.png", "train/b/1.png", "val/a/1.png", "valid/a/1.png"], "val and valid are both the validation"),
        (["train/a/1.png", "train/b/1.png", "test/c/1.png"], r"test: classes \['c'\] are not among the training classes \['a', 'b'\]"),
    ],
)  # fmt: skip
def test_splits_that_do_not_fit_are_refused(make, paths, told):
    with pytest.raises(ClassLayoutError, match=told):
        list_folder(make(*paths))


def test_a_split_may_lack_a_class(make):
    assert list_folder(make("train/a/1.png", "train/b/1.png", "test/a/1.png")).class_names == ("a", "b")


def test_nothing_in_the_folder_is_changed(make):
    root = make("cat/1.png", "dog/1.png")
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    list_folder(root)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before
