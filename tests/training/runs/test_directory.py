from pathlib import Path

import pytest

from vit_keras.models.vit import vit
from vit_keras.training import finetune
from vit_keras.training.runs.directory import next_run_directory


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty current directory."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ("emoji", "emoji"),
        ("{folder}", "pictures"),
        ("{folder}/", "pictures"),
        ("{folder}/../pictures", "pictures"),
        ("../pictures", "pictures"),
        (".", "here"),
        ("/", "run"),
        ("imagenette/160px:1.0.0", "imagenette-160px-1.0.0"),
        ("/no longer/there", "no-longer-there"),
    ],
)
def test_the_default_run_directory_is_named_by_the_data_and_lies_in_runs(here, image_folder, data, name):
    found = next_run_directory(data.format(folder=image_folder))
    assert found.path == Path("runs") / f"{name}-1"


def test_the_number_is_the_first_that_is_free(here):
    Path("runs/search-emoji-1").mkdir(parents=True)
    assert next_run_directory("emoji").path == Path("runs/emoji-1")
    assert next_run_directory("emoji", prefix="search-").path == Path("runs/search-emoji-2")


def test_nothing_is_written_beside_data_of_an_absolute_path_and_the_place_is_printed(
    here, make_folder, tiny_config, capsys
):
    folder = make_folder({"cat": 12, "dog": 12})
    before = sorted(folder.parent.rglob("*"))
    run = finetune(vit(tiny_config, num_classes=2), str(folder), method="linear_probe")
    assert run.run_directory == Path("runs/pictures-1")
    assert f"run      {run.run_directory}" in capsys.readouterr().out
    assert (here / "runs" / "pictures-1" / "run.json").is_file()
    assert [path for path in sorted(folder.parent.rglob("*")) if here not in path.parents] == before
