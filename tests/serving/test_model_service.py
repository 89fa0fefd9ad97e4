import base64
import io
import threading
import time
from dataclasses import replace

import numpy as np
import oracle
import pytest
from explain.plain import expected_rollout, plain_blocks, seen
from PIL import Image
from serving.pictures import encode, noise

from vit_keras.errors import InvalidArgumentError
from vit_keras.models.vit import model_config, vit
from vit_keras.serving.limits import MAX_WAITING
from vit_keras.serving.model_service import ModelService
from vit_keras.serving.request_error import RequestError
from vit_keras.zoo.load_model import open_model

CLOSE = {"rtol": 1e-3, "atol": 1e-5}


@pytest.fixture(scope="module")
def opened(tiny_preset):
    return open_model(tiny_preset)


@pytest.fixture(scope="module")
def make_service():
    """Returns a function that makes a service; all end with the module."""
    made = []

    def make(opened, name="tiny"):
        made.append(ModelService(opened, name))
        return made[-1]

    yield make
    for service in made:
        service.end()


@pytest.fixture(scope="module")
def service(opened, make_service):
    return make_service(opened)


def plain_logits(opened, image):
    return oracle.vit(model_config(opened.model), oracle.weights_of(opened.model), image[None].astype("float32"))[0]


def test_a_prediction_is_the_softmax_of_the_paper_s_forward_pass(service, opened):
    service.warm_up()
    image = noise()
    expected = oracle.softmax(plain_logits(opened, image))
    found = service.predict(encode(image), name="a.png")
    assert found["file"] == "a.png"
    order = np.argsort(-expected)
    assert [each["name"] for each in found["classes"]] == [("cat", "dog", "owl")[index] for index in order]
    np.testing.assert_allclose([each["probability"] for each in found["classes"]], expected[order], **CLOSE)
    assert set(found["milliseconds"]) == {"decoding", "model"}
    assert len(service.predict(encode(image), name="a.png", top=1)["classes"]) == 1
    assert len(service.predict(encode(image), name="a.png", top=None)["classes"]) == 3


def test_many_threads_each_get_their_own_image_s_prediction(service, opened):
    images = [noise(seed=seed) for seed in range(24)]
    found = {}

    def predict(number):
        found[number] = service.predict(encode(images[number]), name=str(number), top=None)

    threads = [threading.Thread(target=predict, args=(number,)) for number in range(len(images))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, image in enumerate(images):
        named = {each["name"]: each["probability"] for each in found[number]["classes"]}
        expected = oracle.softmax(plain_logits(opened, image))
        np.testing.assert_allclose([named[name] for name in ("cat", "dog", "owl")], expected, **CLOSE)


@pytest.mark.any_backend
def test_several_labels_and_numbers_are_told_as_vk_predict_tells_them(make_service, opened):
    image = noise()
    logits = plain_logits(opened, image)
    names = np.array(opened.class_names)
    tagged = make_service(replace(opened, task="multi_label", threshold=0.5)).predict(encode(image), name="x")
    probabilities = {each["name"]: each["probability"] for each in tagged["classes"]}
    np.testing.assert_allclose([probabilities[name] for name in names], 1 / (1 + np.exp(-logits)), **CLOSE)
    assert set(tagged["labels"]) == set(names[logits >= 0])
    assert tagged["threshold"] == 0.5
    numbered = make_service(replace(opened, task="regression")).predict(encode(image), name="x")
    np.testing.assert_allclose([numbered["values"][name] for name in names], logits, **CLOSE)


def test_attention_and_rollout_per_block_are_those_of_plain_numpy(service, opened):
    image = noise()
    config, plain = model_config(opened.model), plain_blocks(opened.model, image[None].astype("float32"))
    found = service.explain(encode(image), name="a.png")
    header, encoded = found["image"].split(",")
    assert header == "data:image/png;base64"
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded)))), image)
    assert found["query"] == "class token"
    fused = plain["maps"].mean(2)
    for block in range(config.num_layers):
        np.testing.assert_allclose(found["attention"][block], seen(config, fused[block, 0], None), **CLOSE)
        np.testing.assert_allclose(
            found["rollout"][block], expected_rollout(config, fused[: block + 1], None)[0], **CLOSE
        )


@pytest.mark.any_backend
def test_a_model_without_names_says_so_and_one_without_a_head_is_refused(make_service, tiny_model, tiny_config):
    facts = make_service(open_model(tiny_model)).describe()
    assert (facts["class_names"], facts["named"]) == (["0", "1", "2"], False)
    with pytest.raises(InvalidArgumentError, match=r"^backbone: this model has no head, so it can't classify images"):
        ModelService(open_model(vit(tiny_config)), "backbone")


@pytest.mark.any_backend
def test_a_model_of_packed_images_is_refused(tiny_config):
    packed = vit(tiny_config.replace(max_num_patches=16, position_resize="bilinear_antialias"), num_classes=3)
    with pytest.raises(InvalidArgumentError, match="packed: this model takes packed images of any size"):
        ModelService(open_model(packed), "packed")


@pytest.mark.any_backend
def test_facts_are_the_model_s(service, opened):
    facts = service.describe()
    assert facts["parameters"] == sum(np.prod(weight.shape) for weight in opened.model.weights)
    assert (facts["model"], facts["class_names"], facts["named"]) == ("tiny", ["cat", "dog", "owl"], True)
    assert (facts["image_size"], facts["blocks"], facts["report"]) == ([16, 16], 2, False)


def refused(call, *arguments, **options):
    with pytest.raises(RequestError) as raised:
        call(*arguments, **options)
    return raised.value


@pytest.mark.any_backend
def test_bad_images_are_refused_and_counted(service):
    before = service.counts["failed"]
    error = refused(service.predict, b"no image", name="x.png")
    assert (error.status, error.message.startswith("x.png: not a supported image")) == (422, True)
    assert refused(service.explain, b"", name="x.png").status == 422
    assert service.counts["failed"] == before + 2


@pytest.mark.any_backend
def test_a_model_that_fails_or_says_nan_is_an_answer_not_an_end(make_service, opened, monkeypatch, tiny_config):
    broken = vit(tiny_config, num_classes=2)
    for weight in broken.weights:
        weight.assign(np.full(weight.shape, np.nan, "float32"))
    service = make_service(open_model(broken))
    error = refused(service.predict, encode(noise()), name="x")
    assert (error.status, error.message) == (500, "x: the model's outputs are NaN or infinite.")
    error = refused(service.explain, encode(noise()), name="x")
    assert (error.status, error.message) == (500, "x: the model's attention is NaN or infinite.")

    def fail(images):
        raise MemoryError("too large")

    monkeypatch.setattr(broken, "predict_on_batch", fail)
    error = refused(service.predict, encode(noise()), name="x")
    assert (error.status, error.message) == (500, "The model failed: MemoryError: too large")


@pytest.mark.any_backend
def test_beyond_64_images_that_wait_is_503_with_retry_after_and_then_there_is_room_again(make_service, opened):
    service, begin = make_service(opened), threading.Event()
    service._thread.call(lambda: begin.wait(60))
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(service.predict(encode(noise()), name="x")))
        for _ in range(MAX_WAITING)
    ]
    for thread in threads:
        thread.start()
    while service._places._value:  # until all have a place
        time.sleep(0.01)
    error = refused(service.predict, encode(noise()), name="x")
    assert (error.status, error.headers) == (503, {"Retry-After": "1"})
    assert "64 images are waiting" in error.message
    begin.set()
    for thread in threads:
        thread.join()
    assert len(found) == MAX_WAITING
    assert service.predict(encode(noise()), name="x")["classes"]
