from pathlib import Path

import pytest

from vit_keras.pretraining.advice import next_commands, warn_if_short

pytestmark = pytest.mark.any_backend


def test_a_run_shorter_than_those_measured_to_pay_off_is_warned_of():
    record = {
        "data": {"images": {"train": 10_000}},
        "recipe": {"method": "mae"},
        "choices": [["epochs", 72, "as asked"], ["weights", "random", "no tag"]],
    }
    assert "10,000 images x 72 epochs is a short run" in warn_if_short(record, epochs=72)
    assert warn_if_short(record, epochs=74) is None
    assert warn_if_short({**record, "recipe": {"method": "distill"}}, epochs=72) is None
    assert warn_if_short({**record, "choices": [["weights", "augreg", "pretrained"]]}, epochs=72) is None


def test_the_next_commands_name_the_run():
    assert next_commands(Path("runs/my photos"))[0] == "vit-keras finetune 'runs/my photos' YOUR_LABELED_FOLDER"
