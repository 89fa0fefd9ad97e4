import json

import pytest


def test_a_model_is_measured_on_a_folder(run, tiny_preset, image_folder):
    code, out, _ = run("evaluate", tiny_preset, image_folder, "--split", "all", "--json")
    assert code == 0
    result = json.loads(out)
    assert (result["images"], [row["name"] for row in result["classes"]]) == (11, ["cat", "dog", "owl"])
    code, out, _ = run("evaluate", tiny_preset, image_folder, "--split", "all")
    assert code == 0
    assert out.startswith("11 images: accuracy")


def test_an_unfinished_run_exits_2_and_says_how_to_resume(run, interrupted):
    code, _, err = run("evaluate", interrupted)
    assert code == 2
    assert f"vit-keras train --resume --run-dir {interrupted}" in err


def test_a_path_without_a_run_exits_6(run, tmp_path):
    code, _, err = run("evaluate", tmp_path / "nowhere")
    assert code == 6
    assert "nowhere is not a run directory" in err


@pytest.mark.parametrize(
    "content", ["", "[]", '{"status": "interrupted", "options": 3}', '{"status": 1, "options": {"x": 1}}']
)
def test_a_damaged_record_is_named(run, interrupted, content):
    (interrupted / "run.json").write_text(content)
    for command in (("train", "--resume", "--run-dir", interrupted), ("evaluate", interrupted)):
        code, _, err = run(*command)
        assert code in (2, 4)
        assert "run.json" in err
        assert "Traceback" not in err
