from pathlib import Path

import pytest

from vit_keras.models.vit import vit
from vit_keras.training import finetune
from vit_keras.training.runs.directory import next_run_directory

pytestmark = pytest.mark.any_backend


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
def test_the_default_run_directory_is_named_by_the_data_and_has_the_first_free_number(here, image_folder, data, name):
    data = data.format(folder=image_folder)
    assert next_run_directory(data).path == Path("runs") / f"{name}-1"
    Path(f"runs/search-{name}-1").mkdir(parents=True)
    assert next_run_directory(data).path == Path("runs") / f"{name}-1"
    assert next_run_directory(data, prefix="search-").path == Path("runs") / f"search-{name}-2"


def test_nothing_is_written_beside_data_of_an_absolute_path(here, make_folder, tiny_config, capsys):
    folder = make_folder({"cat": 12, "dog": 12})
    before = sorted(folder.parent.rglob("*"))
    run = finetune(vit(tiny_config, num_classes=2), str(folder), method="linear_probe")
    assert run.run_directory == Path("runs/pictures-1")
    assert f"run      {run.run_directory}" in capsys.readouterr().out
    assert (here / "runs" / "pictures-1" / "run.json").is_file()
    assert [path for path in sorted(folder.parent.rglob("*")) if here not in path.parents] == before
