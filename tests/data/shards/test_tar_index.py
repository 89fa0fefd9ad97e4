import json
import tarfile

import pytest
from data.shards.conftest import encode

from vit_keras.data.shards.tar_index import index_tar
from vit_keras.errors import CorruptFileError, DataError, EmptyDatasetError


def test_images_are_where_the_index_says_and_the_fields_of_their_samples_next_to_them(make_tar):
    path = make_tar({
        "a/0001.png": encode("cat"), "a/0001.json": json.dumps({"label": "cat", "age": 3, "tags": ["x", 1]}).encode(),
        "a/0001.txt": b"a cat\n", "a/0001.npy": b"123",
        "a/0002.json": b'{"label": "dog"}', "a/0002.png": encode("dog"),
        "._a": b"hidden",
    })  # fmt: skip
    index = index_tar(path)
    content = path.read_bytes()
    found = [content[start : start + length] for start, length in zip(index.offsets, index.lengths, strict=True)]
    assert found == [encode("cat"), encode("dog")]
    assert index.names == ["a/0001.png", "a/0002.png"]
    assert index.columns == {
        "folder": ["a", "a"], "label": ["cat", "dog"], "age": ["3", ""], "tags": [["x", "1"], ""], "txt": ["a cat", ""],
    }  # fmt: skip
    assert index.ignored == {".npy": 1}


def test_where_there_are_only_images_each_is_one_whatever_its_dots(make_tar):
    index = index_tar(make_tar({"cat/a.1.png": encode("cat"), "cat/a.2.png": encode("cat")}))
    assert (index.names, index.columns) == (["cat/a.1.png", "cat/a.2.png"], {"folder": ["cat", "cat"]})


def test_of_samples_with_several_images_the_suffix_is_to_be_stated(make_tar):
    members = {"1.png": encode("cat"), "1.mask.png": encode("dog"), "1.cls": b"0"}
    with pytest.raises(DataError, match=r"the sample '1' has several images, png, mask.png.*image_column"):
        index_tar(make_tar(members))
    assert index_tar(make_tar(members), "mask.png").names == ["1.mask.png"]
    with pytest.raises(DataError, match="the sample '1' has no image 'webp'"):
        index_tar(make_tar(members), "webp")


@pytest.mark.parametrize("kind", ["gz", "xz", "bz2"])
def test_a_compressed_tar_is_refused_with_the_program_that_decompresses_it(tmp_path, kind):
    path = tmp_path / f"shard.tar.{kind}"
    with tarfile.open(path, f"w:{kind}"):
        pass
    with pytest.raises(DataError, match=r"(gunzip|unxz|bunzip2) shard.tar"):
        index_tar(path)


def test_a_truncated_or_damaged_tar_is_named_with_what_could_be_read(make_tar):
    path = make_tar({f"{number}.png": encode("cat") for number in range(3)})
    content = path.read_bytes()
    start = index_tar(path).offsets[2]
    for size in (start + 10, start - 100):  # in the third image, in its header
        path.write_bytes(content[:size])
        with pytest.raises(
            CorruptFileError, match=r"shard.tar: truncated, damaged .* after [23] images, the last [12].png"
        ):
            index_tar(path)
    path.write_bytes(content[: start - 400] + bytes([255]) * 200 + content[start - 200 :])
    with pytest.raises(CorruptFileError, match=r"after 2 images, the last 1.png"):
        index_tar(path)
    path.write_bytes(b"no tar file at all" * 100)
    with pytest.raises(CorruptFileError, match="no tar file at its start"):
        index_tar(path)


def test_a_tar_without_images_or_with_fields_that_are_no_text_is_an_error(make_tar):
    with pytest.raises(EmptyDatasetError, match=r"there is no image; its members are .npy"):
        index_tar(make_tar({"1.npy": b"1"}))
    with pytest.raises(DataError, match=r"1.json is not json in UTF-8"):
        index_tar(make_tar({"1.png": encode("cat"), "1.json": b"{"}))
