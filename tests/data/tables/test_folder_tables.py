import json
import shutil

import pytest

from vit_keras.data import ReadOptions, load
from vit_keras.data.sources.folder import list_files
from vit_keras.data.split_names import SPLITS
from vit_keras.data.tables.options import TableOptions
from vit_keras.errors import ClassLayoutError, DataError, InvalidArgumentError

READING = ReadOptions()


def sizes(listing):
    """Returns the number of files of each split."""
    return {split: int((listing.splits == number).sum()) for number, split in enumerate(SPLITS)}


@pytest.mark.parametrize(
    "names", [("train", "val", "test"), ("Train", "Valid", "Test"), ("train_labels", "dev_labels", "test_labels")]
)
def test_tables_named_as_splits(folder, table, rows, names):
    for name, part in zip(names, (rows[:8], rows[8:10], rows[10:]), strict=True):
        table(part, name=f"{name}.csv")
    listing = list_files(folder, READING)
    assert sizes(listing) == {"train": 8, "validation": 2, "test": 2}
    assert listing.decisions[0] == f"labels read from {', '.join(f'{name}.csv' for name in names)}"
    assert load(folder, image_size=8).sizes == sizes(listing)


def test_a_test_table_without_labels_is_left_out(folder, table, rows):
    table(rows, name="train.csv")
    table([(path,) for path, _ in rows], ("path",), "test.csv")
    listing = list_files(folder, READING)
    assert len(listing.paths) == 12
    assert listing.decisions == ("labels read from train.csv, test.csv", "test.csv is not read: it has no column label")


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_metadata_of_hugging_face_in_the_folder_or_in_each_split(folder, table, rows, kind):
    def write(part, name):
        path = table(part, ("file_name", "label"), f"{name}.csv")
        if kind == "jsonl":
            path.with_suffix(".jsonl").write_text(
                "".join(json.dumps({"file_name": file, "label": label}) + "\n" for file, label in part)
            )
            path.unlink()

    write(rows, "metadata")
    assert len(list_files(folder, READING).paths) == 12
    (folder / f"metadata.{kind}").unlink()
    for split, part in (("train", rows[:8]), ("validation", rows[8:])):
        (folder / split).mkdir()
        for path, _ in part:
            shutil.move(folder / path, folder / split)
        write([(path.removeprefix("pictures/"), label) for path, label in part], f"{split}/metadata")
    listing = list_files(folder, READING)
    assert sizes(listing) == {"train": 8, "validation": 4, "test": 0}
    assert listing.paths[7:9] == ["train/07.png", "validation/08.png"]


def test_the_only_table_next_to_a_folder_of_images(folder, table, rows):
    table(rows)
    listing = list_files(folder, READING)
    assert len(listing.paths) == 12
    assert listing.decisions == ("labels read from labels.csv",)


def test_class_folders_are_read_where_a_table_has_no_images_or_labels(make_folder):
    root = make_folder({"cat": 3, "dog": 3})
    (root / "metadata.csv").write_text("name,text\nx,y\n")
    (root / "notes.csv").write_text("path,label\ncat/00.png,dog\n")  # next to class folders, any other table is ignored
    listing = list_files(root, READING)
    assert listing.class_names == ("cat", "dog")
    assert listing.decisions[0].startswith("class folders read, and not metadata.csv")
    with pytest.raises(DataError, match="there is no column 'x'"):
        list_files(root, READING, tables=TableOptions(label_column="x"))
    (root / "metadata.csv").unlink()
    with pytest.raises(InvalidArgumentError, match=r"label_column=\.\.\. is for a table of files and labels"):
        list_files(root, READING, tables=TableOptions(label_column="x"))
    with pytest.raises(InvalidArgumentError, match="task='regression' is for a table"):
        list_files(root, READING, tables=TableOptions(task="regression"))


def test_two_tables_of_one_split_are_an_error(folder, table, rows):
    for name in ("train.csv", "training.csv"):
        table(rows, name=name)
    with pytest.raises(ClassLayoutError, match="training and train are both the train split; keep one"):
        list_files(folder, READING)
