import numpy as np
import pytest

from vit_keras.data.tables.labels import read_labels
from vit_keras.data.tables.options import TableOptions
from vit_keras.data.tables.table import Part, make_table
from vit_keras.errors import ClassLayoutError, DataError


def read(columns, splits=None, class_names=None, **options):
    """Returns the labels of columns, their names and their encoding."""
    table = make_table(Part("t", None), columns)
    labels = read_labels(table, tuple(columns), TableOptions(**options))
    splits = np.full(len(table), -1) if splits is None else np.asarray(splits)
    return labels, *(() if labels.faults else labels.encode(splits, class_names, "t"))


@pytest.mark.parametrize(
    ("column", "cells", "task", "names"),
    [
        ("label", ["cat", "dog", "cat"], "single_label", ("cat", "dog")),
        ("label", ["10", "2", "2"], "single_label", ("2", "10")),
        ("label", ["1.0", "0.0", "1.0"], "single_label", ("0", "1")),  # pandas' integers where a value was missing
        ("label", ["1.0", "cat", "1.0"], "single_label", ("1.0", "cat")),
        ("label", ["007", "7", "8"], "single_label", ("007", "7", "8")),
        ("label", list(range(30)), "single_label", tuple(map(str, range(30)))),  # classes by the column's name
        ("target", list(range(30)), "regression", ("target",)),
        ("grade", [0, 4, 4, 2] * 5, "single_label", ("0", "2", "4")),
        ("age", list(range(11)), "regression", ("age",)),
        ("label", [0.5, 1, 2], "regression", ("label",)),
        ("label", ["-1e3", "2", "0.25"], "regression", ("label",)),
        ("label", ["cat|dog", "cat", "dog | owl"], "multi_label", ("cat", "dog", "owl")),
        ("label", [["cat", "dog"], ["owl"], []], "multi_label", ("cat", "dog", "owl")),
        ("label", [["cat"], ["dog"], ["cat"]], "single_label", ("cat", "dog")),
        ("label", [True, False, True], "single_label", ("False", "True")),
        ("label", ["cafe\u0301", "caf\u00e9", "tea"], "single_label", ("caf\u00e9", "tea")),
    ],
)
def test_the_task_of_one_column(column, cells, task, names):
    labels, found, encoded = read({column: cells})
    assert (labels.task, found) == (task, names)
    assert encoded.shape == {"single_label": (len(cells),)}.get(task, (len(cells), len(names)))
    assert encoded.dtype == {"single_label": "int32", "multi_label": "uint8", "regression": "float32"}[task]
    is_number = all(str(cell).lstrip("-").replace(".", "").replace("e", "").isdigit() for cell in cells)
    assert bool(labels.decisions) == (is_number or task == "multi_label")


def test_values_are_encoded():
    assert read({"label": ["b", "a", "b"]})[2].tolist() == [1, 0, 1]
    assert read({"label": ["b", "a", "b"]}, class_names=("b", "a"))[2].tolist() == [0, 1, 0]
    assert read({"label": ["b|a|b", "a", ""]})[2].tolist() == [[1, 1], [1, 0], [0, 0]]
    assert read({"label": ["0.1", "2", "-3e2"]})[2].tolist() == np.array([[0.1], [2], [-300]], "float32").tolist()


def test_task_decides():
    assert read({"label": [0.5, 1.5, 0.5]}, task="single_label")[1] == ("0.5", "1.5")
    assert read({"grade": [1, 2, 3]}, task="regression")[2].tolist() == [[1], [2], [3]]
    assert read({"label": ["a|b", "c", "c"]}, task="single_label")[1] == ("a|b", "c")
    assert read({"label": ["a", "b", "a"]}, task="multi_label")[2].tolist() == [[1, 0], [0, 1], [1, 0]]


@pytest.mark.parametrize(("separator", "cell"), [(",", "a, b"), (" ", "a  b"), (" and ", "a and b"), ("||", "a||b")])
def test_the_separator(separator, cell):
    assert read({"label": [cell, "a", "b"]}, label_separator=separator)[2].tolist() == [[1, 1], [1, 0], [0, 1]]


def test_columns_of_0_and_1():
    one_hot = {"dog": [0, 1, 0], "cat": ["1.0", "0.0", "1.0"]}
    labels, names, encoded = read(one_hot)
    assert (labels.task, names, encoded.tolist()) == ("single_label", ("cat", "dog"), [0, 1, 0])
    assert "0 and 1 in the columns dog, cat read as the class of the image" in labels.decisions[0]
    labels, names, encoded = read(one_hot, task="multi_label")
    assert (labels.task, names, encoded.tolist()) == ("multi_label", ("cat", "dog"), [[1, 0], [0, 1], [1, 0]])
    labels, names, encoded = read({"dog": [True, True, False], "cat": [1, 0, 0], "ant": [0, 0, 0]})
    assert (labels.task, names) == ("multi_label", ("ant", "cat", "dog"))
    assert encoded.tolist() == [[0, 1, 1], [0, 0, 1], [0, 0, 0]]
    assert read(one_hot, task="regression")[2].tolist() == [[0, 1], [1, 0], [0, 1]]


def test_several_columns_of_numbers_are_targets_in_their_order():
    labels, names, encoded = read({"weight": [1, 2.5, 3], "age": [0, 1, 1]})
    assert (labels.task, names, encoded.tolist()) == ("regression", ("weight", "age"), [[1, 0], [2.5, 1], [3, 1]])
    assert read({"weight": [1, 2.5, 3], "age": [0, 1, 1]}, class_names=("age", "weight"))[2].tolist()[1] == [1, 2.5]


@pytest.mark.parametrize(
    ("columns", "options", "fault"),
    [
        ({"label": ["cat", "", "dog"]}, {}, "no label"),
        ({"age": ["1.5", "", "2"]}, {}, "no number in the column age"),
        ({"age": ["1.5", "x", "2"]}, {"task": "regression"}, "'x' in the column age is not a number"),
        ({"age": ["1.5", "nan", "2"]}, {"task": "regression"}, "'nan' in the column age is not a number"),
        ({"label": [["a"], ["a", "b"], ["b"]]}, {"task": "single_label"}, "2 labels, and with task='single_label'"),
        ({"a": [0, 1, 1], "b": [1, 1, 0]}, {"task": "single_label"}, "2 of the columns are 1"),
        ({"a": [0, 0.5, 1], "b": [1, 1, 0]}, {"task": "multi_label"}, "'0.5' in the column a is neither 0 nor 1"),
        ({"label": ["a", b"\x00", "b"]}, {}, "bytes instead of a label"),
    ],
)
def test_labels_that_cannot_be_used_are_faults_of_their_row(columns, options, fault):
    faults = read(columns, **options)[0].faults
    assert list(faults) == [1]
    assert fault in faults[1]


def test_text_in_one_of_several_columns_is_an_error():
    with pytest.raises(DataError, match=r"must hold numbers, and label do not"):
        read({"label": ["cat", "dog"], "age": [1, 2]})


def test_text_that_hardly_repeats_is_no_class_unless_the_user_or_the_name_says_so():
    texts = [f"a photo of a cat {index}" for index in range(20)]
    with pytest.raises(DataError, match="'caption' has 20 different values in 20 rows, which are hardly classes"):
        read({"caption": texts})
    assert len(read({"caption": texts}, label_column="caption")[1]) == len(read({"label": texts})[1]) == 20


def test_classes_that_training_lacks_are_an_error():
    with pytest.raises(ClassLayoutError, match=r"no training image has the labels c"):
        read({"label": ["a|b", "b", "c"]}, splits=[0, 0, 2])
    assert read({"a": [1, 1, 0], "c": [0, 1, 1]}, splits=[0, 0, 2])[1] == ("a", "c")
    with pytest.raises(ClassLayoutError, match="differ only in case"):
        read({"label": ["a|b", "B", "b"]})
