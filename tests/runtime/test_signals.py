import os
import signal
import threading

import pytest

from vit_keras.runtime.signals import Aborted, Interruption

pytestmark = pytest.mark.any_backend


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_recorded_and_the_second_aborts(number):
    said, before = [], signal.getsignal(number)
    with Interruption(on_first=lambda: said.append(True)) as interruption:
        assert not interruption.asked
        os.kill(os.getpid(), number)
        assert interruption.asked
        assert said == [True]
        with pytest.raises(Aborted):
            os.kill(os.getpid(), number)
    assert said == [True]
    assert signal.getsignal(number) == before


def test_outside_the_main_thread_nothing_is_recorded_and_nothing_breaks():
    found = []

    def work():
        with Interruption() as interruption:
            found.append(interruption.asked)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [False]
