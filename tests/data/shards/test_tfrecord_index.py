import gzip

import pytest
import tensorflow as tf
from data.shards.conftest import encode

from vit_keras.data.shards.tfrecord_index import index_tfrecord
from vit_keras.errors import CorruptFileError, DataError, EmptyDatasetError


def make_feature(value):
    values = value if isinstance(value, list) else [value]
    if isinstance(values[0], bytes):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
    if isinstance(values[0], float):
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def write_records(path, *rows):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for row in rows:
            features = tf.train.Features(feature={name: make_feature(value) for name, value in row.items()})
            writer.write(tf.train.Example(features=features).SerializeToString())
    return path


def test_images_and_features_of_the_records_that_tensorflow_wrote(tmp_path):
    path = write_records(
        tmp_path / "a.tfrecord",
        {"image": encode("cat"), "label": 300, "score": -0.5, "tags": [b"x", b"y"], "mask": bytes(2000)},
        {"image": encode("dog", 300), "label": -2, "score": 1.0, "raw": b"\xff\xfe"},
    )
    index = index_tfrecord(path)
    content = path.read_bytes()
    found = [content[start : start + length] for start, length in zip(index.offsets, index.lengths, strict=True)]
    assert found == [encode("cat"), encode("dog", 300)]
    assert index.names == ["000000", "000001"]
    assert index.columns == {"label": ["300", "-2"], "score": ["-0.5", "1"], "tags": [["x", "y"], ""]}
    assert index.ignored == {"mask": 1, "raw": 1}


def test_the_feature_of_images_is_found_by_its_content_or_stated(tmp_path):
    row = {"frame": encode("cat"), "label": 1}
    assert index_tfrecord(write_records(tmp_path / "a", row)).images == "frame"
    two = write_records(tmp_path / "b", {"left": encode("cat"), "right": encode("dog"), "label": 1})
    with pytest.raises(DataError, match=r"record 0 has no encoded image; its features are label, left, right"):
        index_tfrecord(two)
    assert index_tfrecord(two, "right").lengths == [len(encode("dog"))]
    with pytest.raises(DataError, match="record 1 has no one encoded image in 'frame'; its features are label"):
        index_tfrecord(write_records(tmp_path / "c", row, {"label": 1}))


def test_a_changed_byte_is_found_wherever_it_is(tmp_path):
    rows = [{"image": encode("cat"), "label": 1}, {"image": encode("dog"), "label": 2}]
    path = write_records(tmp_path / "a.tfrecord", *rows)
    content = path.read_bytes()
    second = 16 + int.from_bytes(content[:8], "little")
    for place, match in (
        (second + 3, "checksum of a length"),
        (second + 60, "checksum of record 1"),
        (3, "no TFRecord file"),
    ):
        changed = bytearray(content)
        changed[place] ^= 4
        path.write_bytes(changed)
        with pytest.raises(CorruptFileError, match=match):
            index_tfrecord(path)
        with pytest.raises(tf.errors.DataLossError):
            list(tf.data.TFRecordDataset(str(path)))
    for size in (second + 5, second + 50, len(content) - 1):
        path.write_bytes(content[:size])
        with pytest.raises(CorruptFileError, match=rf"truncated after 1 record, at byte {second} of {size}"):
            index_tfrecord(path)


def test_other_records_and_compressed_files_are_refused(tmp_path):
    path = tmp_path / "a.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(b"just text")
    with pytest.raises(CorruptFileError, match=r"record 0 is no tf.train.Example"):
        index_tfrecord(path)
    path.write_bytes(gzip.compress(bytes(100)))
    with pytest.raises(DataError, match="compressed with gzip"):
        index_tfrecord(path)
    path.write_bytes(b"")
    with pytest.raises(EmptyDatasetError, match="there are no records"):
        index_tfrecord(path)
