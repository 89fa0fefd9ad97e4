import os
import sys

import pytest

from vit_keras.data.scan.listing import list_folder

pytestmark = pytest.mark.usefixtures("never_opened")
posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX links and pipes")


def test_unsupported_formats_are_rejected_by_name(make):
    names = ["a.dng", "b.HEIC", "c.avif", "d.jxl", "e.svg"]
    listing = list_folder(make("cat/1.png", "dog/1.png", *(f"cat/{name}" for name in names)))
    assert [path for path, _ in listing.rejected] == [f"cat/{name}" for name in names]
    assert all("unsupported format" in reason for _, reason in listing.rejected)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has names that are not text")
def test_a_name_that_is_not_text_is_rejected(make):
    name = os.fsdecode(b"caf\xe9.png")
    listing = list_folder(make("cat/1.png", f"cat/{name}", "dog/1.png"))
    assert listing.paths == ["cat/1.png", "dog/1.png"]
    ((path, reason),) = listing.rejected
    assert path == f"cat/{name}"
    assert "not valid in this system's encoding" in reason


def test_leftovers_of_operating_systems_are_ignored_and_counted(make):
    junk = ["cat/._1.png", ".git/1.png", "cat/.DS_Store", "__MACOSX/cat/1.png", "cat/Thumbs.db", "desktop.ini"]
    listing = list_folder(make("cat/1.png", "dog/1.png", "cat/notes.txt", "dog/README", *junk))
    assert listing.paths == ["cat/1.png", "dog/1.png"]
    assert listing.ignored == {"hidden": 3, "__MACOSX": 1, "Thumbs.db": 1, "desktop.ini": 1, ".txt": 1, "no suffix": 1}


@posix
def test_links_are_not_followed_by_default(make, tmp_path):
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
def test_followed_links_list_each_file_once_and_loops_end(make, tmp_path):
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
    assert {path for path in reasons if reasons[path] == "a broken link"} == {"dog/gone.png", "cat/self"}
    assert {path for path in reasons if reasons[path] == "a link to something already listed"} == {
        "bee", "cat/again.png", "cat/loop", "cat/zebra", "dog/more", "dog/new.png", "zebra/hard.png",
    }  # fmt: skip


@posix
def test_followed_links_out_of_the_folder_are_recorded(make, tmp_path):
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
def test_pipes_are_skipped(make):
    root = make("cat/1.png", "dog/1.png")
    os.mkfifo(root / "cat" / "pipe.png")
    os.mkfifo(root / "pipe.png")
    listing = list_folder(root)
    assert listing.paths == ["cat/1.png", "dog/1.png"]
    assert dict(listing.skipped) == dict.fromkeys(["cat/pipe.png", "pipe.png"], "neither a file nor a folder")


def test_subfolders_belong_to_the_class_even_with_the_name_of_an_image(make):
    paths = ["cat/1.png", "cat/2024/may/2.png", "cat/x.jpg/3.png", "dog/1.png"]
    assert sorted(list_folder(make(*paths)).paths) == sorted(paths)


def test_very_deep_folders_are_walked(make):
    deep = "cat/" + "d/" * 900
    root = make("cat/1.png", "dog/1.png")
    os.makedirs(root / deep)
    (root / deep / "2.png").write_bytes(b"")
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(400)
    try:
        assert f"{deep}2.png" in list_folder(root).paths
    finally:
        sys.setrecursionlimit(limit)


def test_loose_images_are_skipped(make):
    listing = list_folder(make("cat/1.png", "dog/1.png", "3.png", "notes.txt"))
    assert listing.paths == ["cat/1.png", "dog/1.png"]
    assert listing.skipped == (("3.png", "in no class folder"),)
    listing = list_folder(make("train/a/1.png", "train/b/1.png", "train/2.png", root=listing.root.parent / "other"))
    assert listing.skipped == (("train/2.png", "in no class folder"),)


def test_nothing_in_the_folder_is_changed(make):
    root = make("cat/1.png", "dog/1.png")
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    list_folder(root)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before
