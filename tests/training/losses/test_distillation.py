import json

import keras
import numpy as np
import pytest
from contracts import JIT
from keras import ops
from training.weights import assert_equal, changed, randomize, values

from vit_keras.errors import InvalidArgumentError
from vit_keras.models.vit import vit
from vit_keras.training.losses.distillation import Distillation, DistillationLoss

CLASSES = 3


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(3)
    return rng.integers(0, 256, (8, 16, 16, 3)).astype("uint8"), rng.integers(0, CLASSES, 8)


@pytest.fixture(scope="module")
def teacher():
    """Another architecture on the same pixels."""
    keras.utils.set_random_seed(1)
    layers = [keras.layers.Rescaling(1 / 127.5, -1), keras.layers.Flatten(), keras.layers.Dense(CLASSES)]
    model = keras.Sequential([keras.Input((16, 16, 3)), *layers], name="teacher")
    kernel = np.random.default_rng(2).normal(size=(16 * 16 * 3, CLASSES), scale=0.1)
    model.layers[-1].set_weights([kernel, np.zeros(CLASSES)])
    return model


@pytest.fixture
def student(tiny_config):
    def build(*, token, seed=4):
        keras.utils.set_random_seed(seed)
        return randomize(vit(tiny_config.replace(num_layers=1, distillation_token=token), num_classes=CLASSES), seed)

    return build


def compiled(model):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.05), loss, metrics=["accuracy"], jit_compile=JIT)
    return model


def array(tensor):
    return np.array(ops.convert_to_numpy(tensor), "float64")


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def crossentropy(logits, labels):
    return -np.log(softmax(logits)[np.arange(len(labels)), labels])


def paper_loss(kind, label_logits, student_logits, labels, teacher_logits, *, alpha, temperature):
    """Equations 2 and 3 of Touvron et al. 2021."""
    if kind == "hard":
        distance = crossentropy(student_logits, teacher_logits.argmax(axis=-1))
    else:
        teacher, student = softmax(teacher_logits / temperature), softmax(student_logits / temperature)
        distance = temperature**2 * (teacher * np.log(teacher / student)).sum(axis=-1)
    return (1 - alpha) * crossentropy(label_logits, labels) + alpha * distance


@pytest.mark.parametrize("token", [True, False])
@pytest.mark.parametrize(("kind", "alpha", "temperature"), [("hard", 0.5, 3.0), ("soft", 0.7, 1.5)])
def test_the_loss_is_the_papers(student, teacher, data, token, kind, alpha, temperature):
    images, labels = data
    model = compiled(Distillation(student(token=token), teacher, kind=kind, alpha=alpha, temperature=temperature))
    heads = ["head", "head_distillation"] if token else ["head", "head"]
    outputs = [model.student.get_layer(name).output for name in heads]
    of_labels, of_teacher = map(array, keras.Model(model.student.input, outputs)(images))
    each = paper_loss(kind, of_labels, of_teacher, labels, array(teacher(images)), alpha=alpha, temperature=temperature)
    weights = np.linspace(0.5, 2, 8).astype("float32")
    for sample_weight, expected in ((None, each.mean()), (weights, (weights * each).mean())):
        loss = model.compute_loss(images, labels, model(images, training=True), sample_weight, True)
        np.testing.assert_allclose(array(loss), expected, rtol=2e-5)
    in_use = (of_labels + of_teacher) / 2
    np.testing.assert_allclose(array(model(images)), in_use, atol=1e-5)
    validated = model.compute_loss(images, labels, model(images, training=False), None, False)
    np.testing.assert_allclose(array(validated), crossentropy(in_use, labels).mean(), rtol=2e-5)


def test_fit_trains_the_student_only_and_equally_on_precomputed_logits(student, teacher, data):
    images, labels = data
    before = teacher.get_weights()
    live = compiled(Distillation(student(token=True), teacher))
    given = live.student
    untrained = given.get_weights()
    options = {"batch_size": 4, "epochs": 2, "shuffle": False, "verbose": 0}
    history = live.fit(images, labels, validation_data=(images, labels), **options).history
    assert history["loss"][-1] < history["loss"][0]
    assert {"accuracy", "val_accuracy", "val_loss"} <= history.keys()
    assert live.student is given
    assert live.count_params() == given.count_params() + teacher.count_params()
    assert_equal(teacher.get_weights(), before)
    assert not any(map(np.array_equal, given.get_weights(), untrained))

    teacher_logits = ops.convert_to_numpy(teacher(images))
    cached = compiled(Distillation(student(token=True)))
    cached.fit(images, {"labels": labels, "teacher": teacher_logits}, validation_data=(images, labels), **options)
    for one, other in zip(cached.student.get_weights(), given.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_each_head_learns_from_its_own_source(student, teacher, data):
    images, labels = data
    model = compiled(Distillation(student(token=True), teacher, alpha=1.0))
    before = values(model.student)
    model.train_on_batch(images, labels)
    heads = {path for path in changed(before, values(model.student)) if path.startswith("head")}
    assert heads == {"head_distillation/kernel", "head_distillation/bias"}


@pytest.mark.any_backend
def test_it_survives_saving(student, teacher, data, tmp_path):
    images, labels = data
    model = compiled(Distillation(student(token=True), teacher, kind="soft", alpha=0.3, temperature=2.0))
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert (again.alpha, again.distillation_loss.kind, again.distillation_loss.temperature) == (0.3, "soft", 2.0)
    assert len(again.trainable_variables) == len(model.student.trainable_variables)
    outputs = [array(one.compute_loss(images, labels, one(images, training=True))) for one in (model, again)]
    assert outputs[0] == outputs[1]
    loss = DistillationLoss("soft", temperature=1.5)
    again = keras.losses.deserialize(json.loads(json.dumps(keras.losses.serialize(loss))))
    assert (again.kind, again.temperature) == ("soft", 1.5)


def test_alpha_does_not_scale_regularization(teacher, data):
    images, labels = data
    kernel = keras.layers.Dense(CLASSES, kernel_regularizer=keras.regularizers.L2(0.1))
    layers = [keras.layers.Rescaling(1 / 255), keras.layers.Flatten(), kernel]
    student = keras.Sequential([keras.Input((16, 16, 3)), *layers])
    penalty = 0.1 * np.sum(kernel.get_weights()[0].astype("float64") ** 2)
    model = compiled(Distillation(student, teacher, alpha=0.5))
    logits = array(student(images))
    each = paper_loss("hard", logits, logits, labels, array(teacher(images)), alpha=0.5, temperature=1)
    loss = model.compute_loss(images, labels, model(images, training=True))
    np.testing.assert_allclose(array(loss), each.mean() + penalty, rtol=2e-5)


@pytest.mark.any_backend
def test_pairs_that_do_not_match_are_refused(student, teacher, data, tiny_config):
    images, labels = data
    small = student(token=False)
    for other, options, message in (
        (small, {}, "the same model"),
        (vit(tiny_config, num_classes=5), {}, r"logits of \(None, 5\), and the student 'vit' \(None, 3\)"),
        (vit(tiny_config.replace(image_size=24), num_classes=CLASSES), {}, r"images of \(None, 24, 24, 3\)"),
        (teacher, {"alpha": 1.5}, "alpha"),
        (teacher, {"kind": "warm"}, "kind"),
        (teacher, {"temperature": 0}, "temperature"),
    ):
        with pytest.raises(InvalidArgumentError, match=message):
            Distillation(small, other, **options)
    model = compiled(Distillation(small))
    with pytest.raises(InvalidArgumentError, match="no teacher"):
        model.compute_loss(images, labels, model(images, training=True))
