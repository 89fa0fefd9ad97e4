import pytest

from vit_keras.cli.replacing import replace_earlier
from vit_keras.errors import RunLockedError, StorageError
from vit_keras.training.runs.lock import RunLock


@pytest.fixture
def earlier(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "run.json").write_text("earlier")
    return folder


def test_a_result_takes_the_place_of_an_earlier_one(earlier):
    with replace_earlier(earlier, overwrite=True):
        assert not earlier.exists()
        earlier.mkdir()
        (earlier / "run.json").write_text("new")
    assert (earlier / "run.json").read_text() == "new"
    assert [path.name for path in earlier.parent.iterdir()] == ["run"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_without_a_new_result_the_earlier_one_is_back(earlier, error):
    with pytest.raises(error), replace_earlier(earlier, overwrite=True):
        raise error
    assert (earlier / "run.json").read_text() == "earlier"
    assert [path.name for path in earlier.parent.iterdir()] == ["run"]


def test_files_are_replaced_too(tmp_path):
    (tmp_path / "model.keras").write_text("earlier")
    with replace_earlier(tmp_path / "model.keras", overwrite=True):
        (tmp_path / "model.keras").write_text("new")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["new"]


def test_folders_of_the_user_and_runs_in_progress_are_not_replaced(earlier, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"mine")
    (tmp_path / "link").symlink_to(earlier)
    for path, message in ((tmp_path / "photos", "not a directory that vit-keras wrote"), (tmp_path / "link", "a link")):
        with pytest.raises(StorageError, match=message), replace_earlier(path, overwrite=True):
            raise AssertionError
    assert (tmp_path / "photos" / "cat.jpg").read_bytes() == b"mine"
    with RunLock(earlier), pytest.raises(RunLockedError), replace_earlier(earlier, overwrite=True):
        raise AssertionError
    assert (earlier / "run.json").read_text() == "earlier"
