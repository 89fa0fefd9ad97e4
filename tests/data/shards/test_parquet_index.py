import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data.shards.conftest import encode

from vit_keras.data.shards.parquet_index import holds_images, index_parquet
from vit_keras.errors import CorruptFileError, DataError

NAMES = ["zebra", "cat", "dog"]
FEATURES = {
    "image": {"_type": "Image"},
    "label": {"names": NAMES, "_type": "ClassLabel"},
    "tags": {"feature": {"names": NAMES, "_type": "ClassLabel"}, "_type": "List"},
}


def make_table(images, metadata=FEATURES, **columns):
    """A table as the datasets library makes it."""
    structs = pa.array(
        [{"bytes": each, "path": None} for each in images], pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    )
    table = pa.table({"image": structs, **columns})
    return table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": metadata}})})


def read_images(index, path):
    content = np.fromfile(index.file or path, "uint8").tobytes()
    return [content[start : start + length] for start, length in zip(index.offsets, index.lengths, strict=True)]


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "none", "use_dictionary": False},
        {"compression": "none", "use_dictionary": True},
        {"compression": "none", "use_dictionary": False, "data_page_version": "2.0", "data_page_size": 500},
        {"compression": "snappy"},
        {"compression": "zstd", "use_dictionary": False},
        {"compression": "none", "use_dictionary": False, "column_encoding": {"image.bytes": "DELTA_BYTE_ARRAY"}},
    ],
)
def test_images_are_read_where_they_are_unless_they_are_compressed(tmp_path, options):
    path = tmp_path / "a.parquet"
    images = [encode(NAMES[number % 3], 8 + number % 10) for number in range(150)]
    pq.write_table(make_table(images, label=[number % 3 for number in range(150)]), path, row_group_size=100, **options)
    index = index_parquet(path)
    assert read_images(index, path) == images
    is_plain = options["compression"] == "none" and "column_encoding" not in options
    assert (index.file is None) == is_plain
    assert index.columns == {"label": [NAMES[number % 3] for number in range(150)]}
    assert index.classes == {"label": NAMES}
    assert holds_images(path)


def test_lists_of_classes_missing_labels_and_plain_bytes(tmp_path):
    images = [encode("cat"), encode("dog")]
    pq.write_table(make_table(images, label=[-1, None], tags=[[0, 2], []]), tmp_path / "a.parquet")
    assert index_parquet(tmp_path / "a.parquet").columns == {"label": ["", ""], "tags": [["zebra", "dog"], []]}
    pq.write_table(pa.table({"photo": images, "x": [1.5, 2.0]}), tmp_path / "b.parquet")
    index = index_parquet(tmp_path / "b.parquet")
    assert (index.images, index.columns, read_images(index, tmp_path / "b.parquet")) == (
        "photo",
        {"x": ["1.5", "2"]},
        images,
    )


def test_what_is_no_parquet_file_with_images_is_refused(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(make_table([encode("cat"), None], label=[0, 1]), path)
    with pytest.raises(DataError, match=r"row 1 has no image bytes"):
        index_parquet(path)
    with pytest.raises(DataError, match=r"'label' \(image_column\) holds no image bytes; those that do are image"):
        index_parquet(path, "label")
    pq.write_table(pa.table({"left": [b"1"], "right": [b"2"]}), path)
    with pytest.raises(DataError, match="not clear which of the columns left, right"):
        index_parquet(path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(CorruptFileError, match="not a readable Parquet file"):
        index_parquet(path)
    assert not holds_images(path)
    pq.write_table(pa.table({"path": ["1.png"], "label": [1]}), path)
    assert not holds_images(path)
