import threading

import numpy as np
import pytest

from vit_keras.serving.model_thread import ModelThread


@pytest.fixture
def make_thread():
    """Returns a function that makes a thread, which waits until the returned event is set; it ends with the test."""
    made = []

    def make(predict):
        thread, begin = ModelThread(predict), threading.Event()
        thread.call(lambda: begin.wait(30))
        made.append((thread, begin))
        return thread, begin

    yield make
    for thread, begin in made:
        begin.set()
        thread.end()


def test_images_that_wait_go_together_and_each_gets_its_own_outputs(make_thread):
    sizes = []

    def predict(images):
        sizes.append(len(images))
        return images.sum((1, 2, 3))[:, None]

    thread, begin = make_thread(predict)
    futures = [thread.submit(np.full((2, 2, 1), number, "uint8")) for number in range(22)]
    begin.set()
    assert [int(future.result(30)[0]) for future in futures] == [4 * number for number in range(22)]
    assert sizes == [16, 4, 1, 1]


def test_a_function_waits_for_the_images_before_it(make_thread):
    done = []
    thread, begin = make_thread(lambda images: done.append(len(images)) or images)
    image = np.zeros((1, 1, 1))
    for work in (image, image, None, image):
        last = thread.submit(work) if work is not None else thread.call(lambda: done.append("function"))
    begin.set()
    last.result(30)
    assert done == [1, 1, "function", 1]


def test_an_error_is_that_of_its_own_batch(make_thread):
    def predict(images):
        if images.max() == 9:
            raise ValueError("nine")
        return images

    thread, begin = make_thread(predict)
    failing = [thread.submit(np.full((1, 1, 1), value)) for value in (1, 2, 3, 9)]
    begin.set()
    for future in failing:
        with pytest.raises(ValueError, match="nine"):
            future.result(30)
    assert thread.submit(np.ones((1, 1, 1))).result(30) == 1
    with pytest.raises(ZeroDivisionError):
        thread.call(lambda: 1 / 0).result(30)


def test_what_nobody_waits_for_any_more_is_not_computed(make_thread):
    seen = []
    thread, begin = make_thread(lambda images: seen.extend(images.ravel()) or images)
    first, second = (thread.submit(np.full((1, 1, 1), value)) for value in (1, 2))
    assert first.cancel()
    begin.set()
    assert second.result(30) == 2
    assert seen == [2]


def test_at_the_end_what_waits_is_done_and_nothing_more_is_taken():
    thread = ModelThread(lambda images: images)
    futures = [thread.submit(np.zeros((1, 1, 1))) for _ in range(5)]
    thread.end()
    assert all(future.done() for future in futures)
    with pytest.raises(RuntimeError, match="has ended"):
        thread.submit(np.zeros((1, 1, 1)))
