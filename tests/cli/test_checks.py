import pytest

from vit_keras.cli.checks import check_all, check_numbers, check_run_dir, check_source
from vit_keras.errors import DataError, InvalidArgumentError, StorageError


def test_one_error_keeps_its_kind_and_several_are_said_at_once(tmp_path):
    nowhere = str(tmp_path / "nowhere")
    with pytest.raises(DataError, match="no such folder or file"):
        check_all(lambda: check_source(nowhere), lambda: check_numbers(epochs=1))
    with pytest.raises(InvalidArgumentError) as caught:
        check_all(lambda: check_source(nowhere), lambda: check_numbers(seed=-1, epochs=0, batch_size=None, limit=-2))
    for message in (nowhere, "--epochs must be at least 1, got 0", "--limit must be at least 1, got -2", "--seed must"):
        assert message in str(caught.value)
    assert "batch" not in str(caught.value)


def test_what_exists_may_be_a_source(tmp_path):
    check_all(lambda: check_source(None), lambda: check_source("emoji"), lambda: check_source(str(tmp_path)))


def test_a_run_directory_is_free_resumed_or_replaced(tmp_path):
    check_run_dir(tmp_path / "new", resume=False, overwrite=False)
    check_run_dir(tmp_path, resume=False, overwrite=True)
    with pytest.raises(StorageError, match="not a run directory"):
        check_run_dir(tmp_path, resume=True, overwrite=False)
    with pytest.raises(StorageError, match=r"nothing is overwritten.*--overwrite"):
        check_run_dir(tmp_path, resume=False, overwrite=False)
    with pytest.raises(InvalidArgumentError, match="--run-dir DIR"):
        check_run_dir(None, resume=True, overwrite=False)
    with pytest.raises(InvalidArgumentError, match="one of them"):
        check_run_dir(tmp_path, resume=True, overwrite=True)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("train", "./nowhere"), 3, "nowhere"),
        (("train", "--preset", "vit_nope"), 2, "'vit_nope'"),
        (("finetune", "nope", "emoji"), 2, "There is no preset 'nope'"),
        (("finetune", "vit_nano_conv8_32", "emoji", "--run-dir", "."), 6, "exists"),
        (("finetune", "vit_nano_conv8_32", "emoji", "--method", "lorra"), 2, "closest are lora,"),
        (("tune", "./nowhere"), 3, "nowhere"),
        (("tune", "emoji", "--budget", "soon"), 2, "'30min'"),
        (("tune", "--resume", "--run-dir", "."), 6, "no search to resume"),
        (("predict", "./nowhere", "."), 6, "nowhere"),
        (("predict", ".", "nowhere.png"), 6, "nowhere.png"),
        (("predict", "cat.png", "vit_nano_conv8_32:drawings"), 2, "the model is named first, then the images"),
        (("explain", "cat.png", "vit_nano_conv8_32:drawings"), 2, "the model is named first, then the images"),
        (("evaluate", ".", "./nowhere"), 3, "nowhere"),
        (("explain", "vit_nope", "a.png"), 2, "'vit_nope'"),
        (("explain", "vit_nano_conv8_32", ".", "--out", "taken.png"), 6, "add --overwrite"),
        (("data", "show", "./nowhere"), 3, "nowhere"),
        (("data", "show", "emoji", "--augment", "extreme"), 2, "'extreme'"),
        (("convert", "nope", "out"), 2, "'nope'"),
        (("convert", "vit_nano_conv8_32:x", "taken.png"), 6, "add --overwrite"),
        (("verify", "nowhere"), 6, "nowhere"),
        (("bench", "nope"), 2, "'nope'"),
        (("serve", "nope"), 2, "'nope'"),
        (("serve", "test_vit", "--port", "70000"), 2, "--port must be from 0 to 65535"),
    ],
)
def test_mistakes_are_reported_before_keras_starts(monkeypatch, tmp_path, refused, arguments, code, message):
    def start_backend(**options):
        raise AssertionError("Keras was started")

    for name in (
        "train",
        "finetune",
        "tune",
        "predict",
        "evaluate",
        "explain",
        "data.show",
        "serve",
        "weights.convert",
        "weights.verify",
        "bench",
    ):
        monkeypatch.setattr(f"vit_keras.cli.commands.{name}.start_backend", start_backend)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken.png").write_bytes(b"mine")
    refused(code, message, *arguments)
    assert (tmp_path / "taken.png").read_bytes() == b"mine"
