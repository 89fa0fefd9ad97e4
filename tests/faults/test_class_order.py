"""The order of classes is the order of the logits: numerical for integers, or as given."""

import io
import json

import keras
import numpy as np
import pytest
from PIL import Image
from rich.console import Console

import vit_keras as vk
from vit_keras.data import Split, load
from vit_keras.data.dataset.image_data import ImageData
from vit_keras.errors import ClassLayoutError, InvalidArgumentError, ResumeError
from vit_keras.presets.label_sets import label_names, label_synsets
from vit_keras.training import Recipe
from vit_keras.training.losses.distillation import Distillation
from vit_keras.training.recipes.model_choices import list_model_choices
from vit_keras.training.recipes.preparing import match_head
from vit_keras.training.runs.repeating import evaluate_run

pytestmark = pytest.mark.any_backend


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


def outputs(model, images):
    return keras.ops.convert_to_numpy(model(images))


RECIPE = Recipe(name="mine", source="", method="full", epochs=1, steps_per_epoch=1)
NAMES, NUMBERS = ("cat", "dog", "owl"), ("0", "1", "2", "10", "11", "100")


def test_classes_that_are_numbers_are_in_the_order_of_numbers(tmp_path):
    root = folder(tmp_path / "root", NUMBERS)
    data = load(root, image_size=16)
    assert data.decisions == ("classes in numerical order",)
    rows = [f"{path.relative_to(root).as_posix()},{path.parent.name}" for path in sorted(root.rglob("*.png"))]
    (root / "table.csv").write_text("\n".join(["path,label", *rows]))
    for each in (data, load(root / "table.csv", image_size=16)):
        assert each.class_names == NUMBERS
        check_labels(each, NUMBERS)
    given = ("100", "0", "10", "2", "1", "11")
    check_labels(load(root / "table.csv", image_size=16, class_names=given), NUMBERS)
    mixed = load(folder(tmp_path / "mixed", ("10", "2", "cat")), image_size=16)
    assert mixed.class_names == ("10", "2", "cat")


def test_the_order_that_is_given_is_the_order_of_the_labels(tmp_path):
    data = load(folder(tmp_path / "root", NAMES), image_size=16, class_names=["owl", "cat", "dog"])
    assert data.class_names == ("owl", "cat", "dog")
    assert data.decisions == ("classes in the order of class_names",)
    check_labels(data, NAMES)

    plain = load("emoji", limit=50)
    given = tuple(reversed(plain.class_names))
    turned = load("emoji", limit=50, class_names=given)
    assert turned.class_names == given
    for name, split in plain.splits.items():
        np.testing.assert_array_equal(split.images, turned.splits[name].images)
        np.testing.assert_array_equal(split.labels, len(given) - 1 - turned.splits[name].labels)


def test_names_that_do_not_fit_the_images_are_an_error(tmp_path):
    root = folder(tmp_path / "root", NAMES)
    with pytest.raises(ClassLayoutError, match=r"names without images: Owl; classes without a name: owl"):
        load(root, image_size=16, class_names=("cat", "dog", "Owl"))
    with pytest.raises(ClassLayoutError, match="names without images"):
        load("emoji", class_names=NAMES)
    splits = dict.fromkeys(("train", "validation", "test"), (np.zeros((40, 8, 8, 3), "uint8"), np.arange(40) % 2))
    with pytest.raises(ClassLayoutError, match=r"no image has the label of c; the labels of the images are 0, 1"):
        load(splits, class_names=("a", "b", "c"))
    for given in ("cat", ("cat", "cat"), ("cat", 1), {"cat", "dog"}):
        with pytest.raises(InvalidArgumentError, match="class_names"):
            load(root, image_size=16, class_names=given)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(3).integers(0, 256, (24, 16, 16, 3)).astype("uint8")


def data_of(images, names):
    split = Split(images, (np.arange(len(images)) % len(names)).astype("int32"))
    splits = dict.fromkeys(("train", "validation", "test"), split)
    return ImageData(name="shades", class_names=names, splits=splits, batch_size=8)


@pytest.mark.parametrize(
    ("has_names", "names", "order", "choice"),
    [
        (True, ("owl", "cat", "dog"), [2, 0, 1], ("permuted", "the data have the classes of the model in another order")),
        (True, ("0", "1", "2"), [0, 1, 2], ("by number", "0 is taken for 'cat', and so on")),
        (True, ("cat", "dog", "yak"), None, ("new", "it was trained for other classes, such as 'owl'")),
        (False, NAMES, [0, 1, 2], ("by number", "")),
        (False, ("0", "1", "2"), [0, 1, 2], None),
    ],
)  # fmt: skip
def test_the_head_is_permuted_kept_or_new(tiny_preset, tiny_model, images, has_names, names, order, choice):
    model, data = vk.from_preset(tiny_preset) if has_names else tiny_model, data_of(images, names)
    assert getattr(model, "class_names", None) == (NAMES if has_names else None)
    choices = [(each.value, each.reason) for each in list_model_choices(model, names) if each.what == "head"]
    assert [value for value, _ in choices] == ([choice[0]] if choice else [])
    assert not choice or choices[0][1].endswith(choice[1])
    logits = outputs(model, images)
    student = RECIPE.prepare(model, data)
    expected = 0 * logits if order is None else logits[:, order]
    np.testing.assert_allclose(outputs(student, images), expected, atol=1e-6)


def test_names_are_kept_where_a_model_is_rebuilt(tiny_preset):
    model = vk.from_preset(tiny_preset)
    assert vk.rebuild(model, image_size=32).class_names == NAMES
    assert vk.rebuild(model, num_classes=5).class_names is None
    assert vk.from_preset(tiny_preset, num_classes=5).class_names is None
    assert vk.from_preset(tiny_preset, num_classes=0).class_names is None


def test_what_becomes_of_the_head_is_said(tiny_preset, images, tmp_path):
    shown, names = io.StringIO(), ("owl", "cat", "dog")
    result = vk.finetune(
        vk.from_preset(tiny_preset), data_of(images, names), method="linear_probe", run_dir=tmp_path / "run",
        console=Console(file=shown, width=300),
    )  # fmt: skip
    assert "choice   head permuted: the data have the classes of the model in another order" in shown.getvalue()
    assert vk.load_class_names(tmp_path / "run" / "model") == result.model.class_names == names
    assert list_model_choices(result.model, names) == []


def test_a_run_whose_classes_were_sorted_as_text_is_resumed_and_evaluated_in_its_own_order_unless_classes_changed(
    tiny_preset, tmp_path, monkeypatch
):
    root, run, console = folder(tmp_path / "root", ("0", "1", "2", "10")), tmp_path / "run", Console(file=io.StringIO())
    options = {"model": tiny_preset, "data": root, "method": "linear_probe"}
    with monkeypatch.context() as patch:  # as it was sorted before
        patch.setattr("vit_keras.data.class_names.sort_class_names", lambda names: tuple(sorted(names)))
        vk.finetune(**options, run_dir=run, console=console)
    assert json.loads((run / "run.json").read_text())["data"]["class_names"] == ["0", "1", "10", "2"]
    resumed = vk.finetune(**options, run_dir=run, resume=True, console=console)
    assert vk.load_class_names(run / "model") == resumed.model.class_names == ("0", "1", "10", "2")
    result = evaluate_run(run)
    assert result["test_accuracy"] == result["recorded"]

    (root / "2").rename(root / "7")
    with pytest.raises(
        ResumeError, match=r"data.class_names: \['0', '1', '10', '2'\] then, \['0', '1', '7', '10'\] now"
    ):
        vk.finetune(**options, run_dir=run, resume=True, console=console)
    with pytest.raises(ResumeError, match="have changed since"):
        evaluate_run(run)


def test_a_teacher_of_classes_in_another_order_is_refused(tiny_preset, images):
    model = vk.from_preset(tiny_preset)
    student = RECIPE.prepare(model, data_of(images, ("owl", "cat", "dog")))
    with pytest.raises(InvalidArgumentError, match=r"has the classes \('cat', 'dog', 'owl'\).*\('owl', 'cat', 'dog'\)"):
        Distillation(student, model)


@pytest.fixture(scope="module")
def imagenet(tiny_config):
    """A model of the classes of ImageNet-1k, with random weights."""
    model, rng = vk.vit(tiny_config, num_classes=1000), np.random.default_rng(4)
    for weight in model.weights:
        weight.assign(rng.normal(size=weight.shape, scale=0.3).astype("float32"))
    model.class_names = label_names("imagenet-1k")
    return model


def test_folders_named_by_wordnet_ids_are_classes_of_imagenet(imagenet, tmp_path):
    root = folder(tmp_path / "val", ("n02123045", "n01440764"), count=2)  # tabby and tench, as ImageNet's own folders
    rows = vk.predict(imagenet, root, top=None)
    assert {row.truth for row in rows} == {"tabby, tabby cat", "tench, Tinca tinca"}
    evaluation = vk.evaluate(imagenet, root)
    assert sorted(evaluation.labels) == [0, 0, 281, 281]  # of timm's and torchvision's tables
    assert evaluation.accuracy == rows.accuracy
    folder(tmp_path / "other", ("n02123045", "unicorn"), count=2)
    with pytest.raises(ClassLayoutError, match=r"lacks: unicorn\. The model's are tench.*and 980 more"):
        vk.evaluate(imagenet, tmp_path / "other")


def test_a_model_trained_on_such_folders_keeps_their_names(imagenet, tmp_path):
    named = vk.rebuild(imagenet)
    named.class_names = label_synsets("imagenet-1k")
    root = folder(tmp_path / "val", ("n02123045", "n01440764"), count=2)
    assert sorted(vk.evaluate(named, root).labels) == [0, 0, 281, 281]
    assert {row.truth for row in vk.predict(named, root)} == {"n02123045", "n01440764"}


def test_the_head_of_imagenet_is_kept_for_data_named_by_wordnet_ids(imagenet, images):
    logits = outputs(imagenet, images)
    ids = label_synsets("imagenet-1k")
    for names, order in ((ids, range(1000)), (ids[::-1], range(999, -1, -1))):
        model = vk.rebuild(imagenet)
        choices = [each.value for each in list_model_choices(model, names) if each.what == "head"]
        assert choices == ([] if names == ids else ["permuted"])
        match_head(model, names)
        np.testing.assert_allclose(outputs(model, images), logits[:, list(order)], atol=1e-5)
        assert model.class_names == names
    Distillation(model, vk.rebuild(model))
    named = vk.rebuild(imagenet)
    named.class_names = ids
    Distillation(vk.rebuild(imagenet), named)  # the same classes in the same order
    with pytest.raises(InvalidArgumentError, match="same classes in the same order"):
        Distillation(vk.rebuild(imagenet), model)
