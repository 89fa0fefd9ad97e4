import numpy as np
import pytest

from vit_keras.data import load
from vit_keras.data.tasks import check_labels, convert_labels, find_task
from vit_keras.errors import ClassLayoutError, InvalidArgumentError, LabelError

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3)).astype("uint8")
TAGS = np.random.default_rng(1).integers(0, 2, (40, 3))
AGES = np.random.default_rng(2).uniform(1, 90, 40)


@pytest.mark.parametrize(
    ("labels", "task"),
    [
        (np.arange(40) % 3, "single_label"),
        ((np.arange(40) % 3).astype("float32"), "single_label"),
        (np.eye(3)[np.arange(40) % 3], "single_label"),
        (TAGS, "multi_label"),
        (TAGS.astype(bool), "multi_label"),
        (TAGS.astype("float64"), "multi_label"),
        (np.tile([1, 0, 1], (40, 1)), "multi_label"),
        (AGES, "regression"),
        (AGES[:, None], "regression"),
        (np.stack([AGES, AGES**2], axis=1), "regression"),
    ],
)
def test_the_task_is_found_from_the_labels(labels, task):
    assert find_task(labels)[0] == task


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (np.eye(2)[np.arange(40) % 2], r"single 1 per row .*task=multi_label"),
        (TAGS, "labels of 0 and 1 in 3 columns read as any number of classes per image"),
        (AGES, "labels that are not integers read as numbers"),
    ],
)
def test_what_is_ambiguous_is_said(labels, expected):
    (decision,) = find_task(labels)[1]
    assert __import__("re").search(expected, decision)
    assert decision in load((IMAGES, labels)).decisions
    assert find_task(np.arange(4))[1] == ()


def test_arrays_are_loaded_with_the_labels_of_their_task():
    data = load((IMAGES, TAGS), class_names=("a", "b", "c"))
    assert (data.task, data.class_names) == ("multi_label", ("a", "b", "c"))
    labels = np.concatenate([split.labels for split in data.splits.values()])
    assert labels.dtype == np.uint8
    assert (labels.sum(axis=0) == TAGS.sum(axis=0)).all()
    _, batch = next(iter(data.validation))
    assert (batch.dtype, batch.shape[1:]) == ("float32", (3,))
    data = load((IMAGES, AGES))
    assert (data.task, data.class_names) == ("regression", ("target",))
    labels = np.concatenate([split.labels for split in data.splits.values()])
    assert labels.dtype == np.float32
    assert np.array_equal(np.sort(labels[:, 0]), np.sort(AGES).astype("float32"))


def test_the_task_can_be_stated():
    integers = np.arange(40) % 4
    assert load((IMAGES, integers), task="regression").splits["train"].labels.dtype == np.float32
    data = load((IMAGES, integers), task="multi_label")
    assert data.class_names == tuple("0123")
    assert set(data.splits["train"].labels.sum(axis=1)) == {1}
    assert load((IMAGES, np.eye(4)[integers]), task="multi_label").task == "multi_label"
    assert load((IMAGES, TAGS), task="regression").class_names == ("target_1", "target_2", "target_3")


@pytest.mark.parametrize(
    ("labels", "task", "message"),
    [
        (np.full(40, 3.5), "auto", "all labels are 3.5, so there is nothing to learn"),
        (np.full((40, 2), 0.5), "auto", "probabilities per class are not supported"),
        (TAGS + 1, "auto", "task='regression'"),
        (TAGS * 2, "multi_label", "must be 0 or 1, and image . has .*2.* in column"),
        (np.where(np.arange(40) == 7, np.nan, AGES), "regression", "must be finite, and image 7 has .*nan"),
        (AGES, "single_label", "task='regression'"),
        (AGES, "multi_label", "rows of 0 and 1, one column per class"),
        (np.array(["a"] * 40), "regression", "image 0: 'a' is not a number"),
        ([[0], [0, 1]] * 20, "auto", "MultiLabelBinarizer"),
    ],
)
def test_labels_of_another_kind_are_an_error(labels, task, message):
    with pytest.raises(LabelError, match=message):
        load((IMAGES, labels), task=task)


def test_an_unknown_task_is_an_error():
    with pytest.raises(InvalidArgumentError, match="task='multilabel': expected one of 'auto', 'single_label'"):
        load((IMAGES, TAGS), task="multilabel")
    with pytest.raises(InvalidArgumentError, match="the labels of emoji are single_label"):
        load("emoji", task="regression")
    with pytest.raises(ClassLayoutError, match="2 names for labels with 3 columns"):
        load((IMAGES, TAGS), class_names=("a", "b"))


def test_the_splits_of_a_mapping_have_one_task():
    data = load({"train": (IMAGES, TAGS), "test": (IMAGES[:5], np.eye(3, dtype=int)[[0, 1, 2, 0, 1]])})
    assert data.task == "multi_label"
    with pytest.raises(LabelError, match="different numbers of columns"):
        load({"train": (IMAGES, TAGS), "test": (IMAGES, TAGS[:, :2])}, task="multi_label")


def test_class_indices_become_columns_and_others_are_refused():
    assert convert_labels("train", np.array([1, 0]), "multi_label", num_classes=2).tolist() == [[0, 1], [1, 0]]
    with pytest.raises(LabelError, match="the label 2 is not an index of 2 classes"):
        convert_labels("train", np.array([2]), "multi_label", num_classes=2)
    with pytest.raises(LabelError, match="a column per name"):
        check_labels("train", np.zeros((2, 3), "uint8"), "multi_label", ("a", "b"))


def test_columns_follow_their_names_into_another_order():
    data = load((IMAGES, TAGS), class_names=("b", "a", "c"))
    other = data.reorder_classes(("a", "b", "c"))
    assert other.class_names == ("a", "b", "c")
    assert (other.splits["test"].labels == data.splits["test"].labels[:, [1, 0, 2]]).all()


def test_the_fingerprint_depends_on_labels_and_task():
    prints = {load((IMAGES, labels), task=task).fingerprint for labels, task in
              [(TAGS, "multi_label"), (1 - TAGS, "multi_label"), (TAGS, "regression"), (TAGS * 2, "regression")]}  # fmt: skip
    assert len(prints) == 4
