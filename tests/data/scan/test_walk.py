import os
import sys

import pytest

from vit_keras.data.scan.listing import list_folder

pytestmark = pytest.mark.usefixtures("never_opened")
posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX links and pipes")


def test_what_is_no_image_is_rejected_or_ignored_by_name(make):
    unsupported = ["cat/a.dng", "cat/b.HEIC", "cat/c.dcm", "cat/d.jxl", "cat/e.svg"]
    junk = ["cat/._1.png", ".git/1.png", "cat/.DS_Store", "__MACOSX/cat/1.png", "cat/Thumbs.db", "desktop.ini"]
    listing = list_folder(make("cat/1.png", "dog/1.png", "cat/notes.txt", "dog/README", *junk, *unsupported))
    assert listing.paths == ["cat/1.png", "dog/1.png"]
    assert [path for path, _ in listing.rejected] == unsupported
    assert all("unsupported format" in reason for _, reason in listing.rejected)
    assert listing.ignored == {"hidden": 3, "__MACOSX": 1, "Thumbs.db": 1, "desktop.ini": 1, ".txt": 1, "no suffix": 1}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has names that are not text")
def test_a_name_that_is_not_text_is_rejected(make):
    name = os.fsdecode(b"caf\xe9.png")
    listing = list_folder(make("cat/1.png", f"cat/{name}", "dog/1.png"))
    assert listing.paths == ["cat/1.png", "dog/1.png"]
    assert listing.rejected[0][0] == f"cat/{name}"
    assert "not valid in this system's encoding" in listing.rejected[0][1]


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


def test_subfolders_belong_to_the_class_however_deep_even_with_the_name_of_an_image(make):
    paths = ["cat/1.png", "cat/2024/may/2.png", "cat/x.jpg/3.png", "dog/1.png", "cat/" + "d/" * 900 + "2.png"]
    root, limit = make(*paths[:-1]), sys.getrecursionlimit()
    os.makedirs(root / paths[-1][:-5])
    (root / paths[-1]).write_bytes(b"")
    sys.setrecursionlimit(400)
    try:
        assert sorted(list_folder(root).paths) == sorted(paths)
    finally:
        sys.setrecursionlimit(limit)


@posix
def test_loose_images_and_pipes_are_skipped(make):
    root = make("cat/1.png", "dog/1.png", "3.png", "notes.txt")
    for name in ("cat/pipe.png", "pipe.png"):
        os.mkfifo(root / name)
    listing = list_folder(root)
    assert listing.paths == ["cat/1.png", "dog/1.png"]
    no_file = dict.fromkeys(["cat/pipe.png", "pipe.png"], "neither a file nor a folder")
    assert dict(listing.skipped) == {"3.png": "in no class folder", **no_file}
    listing = list_folder(make("train/a/1.png", "train/b/1.png", "train/2.png", root=root.parent / "other"))
    assert listing.skipped == (("train/2.png", "in no class folder"),)
