"""`vit-keras launch`, and the options about devices of the commands it starts."""

import pytest


def test_only_commands_that_train_are_launched(run):
    code, _, err = run("launch", "-n", "2", "--", "tune", "photos")
    assert code == 2
    assert "vit-keras launch starts train, finetune, pretrain, evaluate, predict, got 'tune'" in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--devices", "0"], "--devices 0: expected a number of at least 1, or auto"),
        (["--distribution", "zero"], "--distribution zero: expected one of data, fsdp, none"),
        (["--coordinator", "a:1"], "--num-processes, --process-id missing"),
        (["--coordinator", "a:1", "--num-processes", "2", "--process-id", "2"], "count from 0 to 1"),
    ],
)
def test_bad_options_are_named_before_keras_starts(run, options, message):
    code, _, err = run("train", *options)
    assert code == 2
    assert message in err
