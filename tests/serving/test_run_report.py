import json
import shutil

import pytest

from vit_keras.serving.run_report import find_name, find_report


@pytest.fixture
def run_folder(tiny_preset, tmp_path):
    folder = tmp_path / "pets"
    shutil.copytree(tiny_preset, folder / "model")
    (folder / "run.json").write_text(json.dumps({"status": "finished"}))
    (folder / "report.html").write_text("<p>pets</p>")
    return folder


def test_the_report_is_that_of_the_run_by_its_own_path_and_by_its_model_s(run_folder, monkeypatch):
    for path in (run_folder, run_folder / "model"):
        assert (find_name(str(path)), find_report(str(path))) == ("pets", b"<p>pets</p>")
    monkeypatch.chdir(run_folder)
    assert (find_name("."), find_report("./model")) == ("pets", b"<p>pets</p>")
    (run_folder / "report.html").unlink()
    assert find_report(str(run_folder)) is None


def test_a_folder_that_only_looks_like_a_run_has_no_report(run_folder, tiny_preset):
    (run_folder / "run.json").unlink()
    assert (find_name(str(run_folder / "model")), find_report(str(run_folder / "model"))) == ("model", None)
    assert (find_name(str(tiny_preset)), find_report(str(tiny_preset))) == ("tiny", None)
    assert find_report("vit_small_patch16_224:dino") is None
