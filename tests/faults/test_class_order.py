"""The order of classes is the order of the logits: numerical for integers, or as given."""

import io
import json

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

import vit_keras as vk
from vit_keras.data import Split, load
from vit_keras.data.dataset.image_data import ImageData
from vit_keras.errors import ClassLayoutError, InvalidArgumentError, ResumeError
from vit_keras.training.losses.distillation import Distillation
from vit_keras.training.preset_runs import FinetuningOptions, finetune_preset
from vit_keras.training.recipes.model_choices import list_model_choices
from vit_keras.training.recipes.preparing import prepare
from vit_keras.training.runs.repeating import evaluate_run


def folder(root, names, count=6):
    """Returns a folder of class folders; the shade of an image is its class's index in `names`."""
    for place, name in enumerate(names):
        (root / name).mkdir(parents=True)
        for index in range(count):
            Image.new("RGB", (16, 16), (20 * place + 10, index, 0)).save(root / name / f"{index}.png")
    return root


def check_labels(data, names):
    """Asserts that every image has the label of its folder."""
    for split in data.splits.values():
        for index, label in enumerate(split.labels):
            assert data.class_names[label] == names[int(split.image(index)[0, 0, 0]) // 20]


NUMBERS = ("0", "1", "2", "10", "11", "100")


def test_classes_that_are_numbers_are_in_the_order_of_numbers(tmp_path):
    data = load(folder(tmp_path / "root", NUMBERS), image_size=16)
    assert data.class_names == NUMBERS
    assert data.decisions == ("classes in numerical order",)
    check_labels(data, NUMBERS)
    mixed = load(folder(tmp_path / "mixed", ("10", "2", "cat")), image_size=16)
    assert mixed.class_names == ("10", "2", "cat")


def test_labels_of_a_table_that_are_numbers_are_in_the_order_of_numbers(tmp_path):
    root = folder(tmp_path / "root", NUMBERS)
    rows = [f"{path.relative_to(root).as_posix()},{path.parent.name}" for path in sorted(root.rglob("*.png"))]
    (root / "table.csv").write_text("\n".join(["path,label", *rows]))
    data = load(root / "table.csv", image_size=16)
    assert data.class_names == NUMBERS
    check_labels(data, NUMBERS)
    given = ("100", "0", "10", "2", "1", "11")
    check_labels(load(root / "table.csv", image_size=16, class_names=given), NUMBERS)


def test_the_order_that_is_given_is_the_order_of_the_labels(tmp_path):
    names = ("cat", "dog", "owl")
    root = folder(tmp_path / "root", names)
    data = load(root, image_size=16, class_names=["owl", "cat", "dog"])
    assert data.class_names == ("owl", "cat", "dog")
    assert data.decisions == ("classes in the order of class_names",)
    check_labels(data, names)


def test_the_order_that_is_given_holds_for_the_embedded_set():
    plain = load("emoji", limit=50)
    given = tuple(reversed(plain.class_names))
    turned = load("emoji", limit=50, class_names=given)
    assert turned.class_names == given
    for name, split in plain.splits.items():
        np.testing.assert_array_equal(split.images, turned.splits[name].images)
        np.testing.assert_array_equal(split.labels, len(given) - 1 - turned.splits[name].labels)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("cat", "dog", "owl", "yak"), r"names without images: \['yak'\]\."),
        (("cat", "dog"), r"classes without a name: \['owl'\]\."),
        (("cat", "dog", "Owl"), r"names without images: \['Owl'\]; classes without a name: \['owl'\]"),
    ],
)
def test_other_names_than_those_of_the_images_are_an_error(tmp_path, given, message):
    root = folder(tmp_path / "root", ("cat", "dog", "owl"))
    with pytest.raises(ClassLayoutError, match=message):
        load(root, image_size=16, class_names=given)
    with pytest.raises(ClassLayoutError, match="names without images"):
        load("emoji", class_names=given)


def test_a_name_without_a_label_of_arrays_is_an_error():
    images, labels = np.zeros((40, 8, 8, 3), "uint8"), np.arange(40) % 2
    splits = dict.fromkeys(("train", "validation", "test"), (images, labels))
    with pytest.raises(
        ClassLayoutError, match=r"no image has the label of \['c'\]; the labels of the images are \[0, 1\]"
    ):
        load(splits, class_names=("a", "b", "c"))


@pytest.mark.parametrize("given", ["cat", ("cat", "cat"), ("cat", 1), {"cat", "dog"}])
def test_illegal_names_are_an_error(given, tmp_path):
    with pytest.raises(InvalidArgumentError, match="class_names"):
        load(folder(tmp_path / "root", ("cat", "dog")), image_size=16, class_names=given)


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(3)
    return rng.integers(0, 256, (24, 16, 16, 3)).astype("uint8")


def data_of(images, names):
    split = Split(images, (np.arange(len(images)) % len(names)).astype("int32"))
    return ImageData(
        name="shades", class_names=names, splits=dict.fromkeys(("train", "validation", "test"), split), batch_size=8
    )


def student_of(model, data):
    return prepare(model, data, method="full", seed=0)


def test_a_head_of_the_same_classes_in_another_order_is_permuted(tiny_preset, images):
    model = vk.from_preset(tiny_preset)
    assert model.class_names == ("cat", "dog", "owl")
    logits = model.predict(images, verbose=0)
    student = student_of(model, data_of(images, ("owl", "cat", "dog")))
    np.testing.assert_allclose(student.predict(images, verbose=0), logits[:, [2, 0, 1]], atol=1e-6)


def test_a_head_of_other_classes_is_new(tiny_preset, images):
    student = student_of(vk.from_preset(tiny_preset), data_of(images, ("cat", "dog", "yak")))
    assert not student.predict(images, verbose=0).any()


def test_a_head_with_names_is_kept_for_classes_that_are_numbers(tiny_preset, images):
    model, data = vk.from_preset(tiny_preset), data_of(images, ("0", "1", "2"))
    (choice,) = list_model_choices(model, data.class_names)
    assert (choice.value, choice.reason.split(":")[1]) == ("by number", " 0 is taken for 'cat', and so on")
    logits = model.predict(images, verbose=0)
    np.testing.assert_allclose(student_of(model, data).predict(images, verbose=0), logits, atol=1e-6)


def test_names_are_kept_where_a_model_is_rebuilt(tiny_preset):
    model = vk.from_preset(tiny_preset)
    assert vk.rebuild(model, image_size=32).class_names == ("cat", "dog", "owl")
    assert vk.rebuild(model, num_classes=5).class_names is None
    assert vk.from_preset(tiny_preset, num_classes=5).class_names is None
    assert vk.from_preset(tiny_preset, num_classes=0).class_names is None


def test_what_becomes_of_the_head_is_said(tiny_preset, images, tmp_path):
    shown, names = io.StringIO(), ("owl", "cat", "dog")
    result = vk.finetune(
        vk.from_preset(tiny_preset),
        data_of(images, names),
        method="linear_probe",
        run_dir=tmp_path / "run",
        console=Console(file=shown, width=300),
    )
    assert "choice   head permuted: the data have the classes of the model in another order" in shown.getvalue()
    assert vk.load_class_names(tmp_path / "run" / "model") == result.model.class_names == names
    (choice,) = list_model_choices(result.model, ("cat", "dog", "yak"))
    assert (choice.value, choice.reason) == ("new", "it was trained for other classes, such as 'owl'")
    assert list_model_choices(result.model, names) == []


def test_a_head_without_names_is_said_to_be_taken_by_number(tiny_model, images):
    (choice,) = list_model_choices(tiny_model, ("cat", "dog", "owl"))
    assert (choice.what, choice.value) == ("head", "by number")
    assert list_model_choices(tiny_model, ("0", "1", "2")) == []
    logits = tiny_model.predict(images, verbose=0)
    student = student_of(tiny_model, data_of(images, ("cat", "dog", "owl")))
    np.testing.assert_allclose(student.predict(images, verbose=0), logits, atol=1e-6)


def test_a_run_whose_classes_were_sorted_as_text_goes_on_and_is_evaluated_in_its_own_order(
    tiny_preset, tmp_path, monkeypatch
):
    root, console = folder(tmp_path / "root", ("0", "1", "2", "10")), Console(file=io.StringIO())
    options = FinetuningOptions(preset=str(tiny_preset), data=str(root), method="linear_probe")
    with monkeypatch.context() as patch:  # as it was sorted before
        patch.setattr("vit_keras.data.class_names.sort_class_names", lambda names: tuple(sorted(names)))
        finetune_preset(options, run_dir=tmp_path / "run", console=console)
    run = tmp_path / "run"
    record = json.loads((run / "run.json").read_text())
    assert record["data"]["class_names"] == ["0", "1", "10", "2"]
    resumed = finetune_preset(options, run_dir=run, resume=True, console=console)
    assert vk.load_class_names(run / "model") == resumed.model.class_names == ("0", "1", "10", "2")
    result = evaluate_run(run)
    assert result["test_accuracy"] == result["recorded"]


def test_a_teacher_of_classes_in_another_order_is_refused(tiny_preset, images):
    model = vk.from_preset(tiny_preset)
    student = student_of(model, data_of(images, ("owl", "cat", "dog")))
    with pytest.raises(InvalidArgumentError, match=r"has the classes \('cat', 'dog', 'owl'\).*\('owl', 'cat', 'dog'\)"):
        Distillation(student, model)


def test_a_run_whose_classes_are_others_by_now_does_not_go_on(tiny_preset, tmp_path):
    root, console = folder(tmp_path / "root", ("0", "1", "2")), Console(file=io.StringIO())
    options = FinetuningOptions(preset=str(tiny_preset), data=str(root), method="linear_probe")
    finetune_preset(options, run_dir=tmp_path / "run", console=console)
    (root / "2").rename(root / "7")
    with pytest.raises(ResumeError, match=r"data.class_names: \['0', '1', '2'\] then, \['0', '1', '7'\] now"):
        finetune_preset(options, run_dir=tmp_path / "run", resume=True, console=console)
    with pytest.raises(ResumeError, match="have changed since"):
        evaluate_run(tmp_path / "run")
