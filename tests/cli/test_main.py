import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from vit_keras.cli import catalogue
from vit_keras.presets import list_presets, preset_info
from vit_keras.training.recipes import RECIPES

CLASS_NAMES = ("ant", "bee", "cat", "dog", "eel", "fox", "gnu")
COMMAND = [sys.executable, "-c", "from vit_keras.cli import main; main()"]


@pytest.fixture(scope="module")
def zoo_of_seven(tiny_config, tmp_path_factory):
    """A preset directory whose model tells seven animals apart, at random."""
    from vit_keras.models.vit import vit
    from vit_keras.zoo.preset_directory import save_preset

    model, rng = vit(tiny_config, num_classes=7), np.random.default_rng(3)
    for weight in model.weights:
        weight.assign(rng.normal(size=weight.shape, scale=0.3).astype("float32"))
    return save_preset(model, tmp_path_factory.mktemp("presets") / "seven", class_names=CLASS_NAMES)


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "good.png"
    Image.new("RGB", (40, 30), (200, 100, 0)).save(path)
    return path


@pytest.fixture
def bad_files(tmp_path, picture):
    content = {
        "empty.jpg": b"", "text.png": b"hello", "page.jpg": b"<!DOCTYPE html>", "half.png": picture.read_bytes()[:60],
    }  # fmt: skip
    for name, written in content.items():
        (tmp_path / name).write_bytes(written)
    return [tmp_path / name for name in (*content, "nowhere.webp")]


def snapshot(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- list and info


def test_list_shows_every_preset(run):
    code, out, err = run("list")
    assert code == 0
    assert err == ""
    assert [line.split()[0] for line in out.splitlines()[1:]] == list_presets()
    assert "parameters" in out.splitlines()[0]


def test_list_takes_wildcards(run):
    code, out, _ = run("list", "*huge*")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()[1:]] == list_presets("*huge*")


def test_list_in_json_is_what_preset_info_says(run):
    code, out, err = run("list", "vit_tiny_*", "--json")
    assert code == 0
    assert err == ""
    assert json.loads(out) == [preset_info(name) for name in list_presets("vit_tiny_*")]


def test_list_without_a_match_says_how_to_search(run):
    code, out, err = run("list", "resnet*")
    assert code == 2
    assert out == ""
    assert "No preset matches 'resnet*'" in err


def test_info_shows_numbers_source_and_every_field(run):
    code, out, _ = run("info", "vit_base_patch16_224")
    assert code == 0
    rows = dict(re.split(r"\s{2,}", line.strip(), maxsplit=1) for line in out.splitlines() if "  " in line.strip())
    assert rows["parameters"] == "85,798,656"
    assert rows["tokens"] == "197"
    assert rows["license"] == "Apache-2.0"
    assert rows["hidden_dim"] == "768"
    assert preset_info("vit_base_patch16_224")["config"].keys() <= rows.keys()


def test_info_in_json_is_what_preset_info_says(run):
    code, out, _ = run("info", "vit_base_patch16_224", "--json")
    assert code == 0
    assert json.loads(out) == preset_info("vit_base_patch16_224")


def test_an_unknown_preset_exits_2_and_proposes_the_closest(run):
    code, out, err = run("info", "vit_base_patch16_225")
    assert code == 2
    assert out == ""
    assert "There is no preset 'vit_base_patch16_225'" in err
    assert "'vit_base_patch16_224'" in err
    assert "Traceback" not in err


# --- recipes


def test_recipes_shows_every_recipe_and_what_to_expect(run):
    code, out, err = run("recipes")
    assert (code, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()[1:] if not line.startswith(" ")] == list(RECIPES)
    assert "98.59" in out


def test_one_recipe_is_shown_with_every_number(run):
    code, out, _ = run("recipes", "finetune")
    rows = dict(re.split(r"\s{2,}", line.strip(), maxsplit=1) for line in out.splitlines() if "  " in line.strip())
    assert code == 0
    assert (rows["recipe"], rows["optimizer"]) == ("finetune", "adamw")
    assert rows["layer_decay"] == "1, up to 6 blocks; 0.75 for more"
    assert rows["learning_rate"].startswith("0.003, at width 128")
    assert "rotation 5" in rows["augmentation"]
    assert RECIPES["finetune"].unsized(epochs=1, steps_per_epoch=1).to_dict().keys() - rows.keys() == {
        "name", "epochs", "steps_per_epoch", "seed",
    }  # fmt: skip


def test_recipes_in_json_are_their_fields(run):
    code, out, _ = run("recipes", "deit3", "--json")
    assert code == 0
    run_s = {"epochs": 7, "steps_per_epoch": 9, "seed": 0}
    assert {**json.loads(out), **run_s} == {**RECIPES["deit3"].unsized(**run_s).to_dict(), "sized": {}}
    code, out, _ = run("recipes", "--json")
    assert [recipe["name"] for recipe in json.loads(out)] == list(RECIPES)


def test_an_unknown_recipe_exits_2_and_proposes_the_closest(run):
    code, out, err = run("recipes", "fine_tune")
    assert (code, out) == (2, "")
    assert "There is no recipe 'fine_tune'; the closest are ['finetune'" in err


@pytest.mark.parametrize(
    "arguments",
    [["list"], ["info", "vit_base_patch16_224"], ["recipes"], ["recipes", "deit"], ["--help"], ["train", "--help"]],
)
def test_what_needs_no_model_imports_no_keras(arguments):
    code = (
        "import sys\n"
        "from vit_keras.cli import main\n"
        "try:\n"
        f"    main({arguments})\n"
        "except SystemExit as ended:\n"
        "    assert not ended.code, ended.code\n"
        "heavy = {'keras', 'tensorflow', 'jax', 'torch', 'matplotlib', 'tensorflow_datasets'} & sys.modules.keys()\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# --- usage


def test_without_a_command_the_help_is_shown(run):
    _, out, err = run()
    for command in ("list", "info", "recipes", "train", "finetune", "evaluate", "predict"):
        assert command in out + err


@pytest.mark.parametrize("command", ["list", "info", "recipes", "train", "finetune", "evaluate", "predict"])
def test_every_command_has_help_and_json(run, command):
    code, out, _ = run(command, "--help")
    assert code == 0
    assert "--json" in out
    assert "--debug" in out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["lst"], "lst"), (["info"], "NAME"), (["list", "--jsn"], "--jsn"), (["train", "--epochs", "many"], "--epochs"),
        (["predict"], "RUN"), (["predict", "run"], "IMAGES"),
    ],
)  # fmt: skip
def test_what_is_typed_wrong_exits_2_and_is_named(run, arguments, told):
    code, out, err = run(*arguments)
    assert code == 2
    assert out == ""
    assert told in err.upper() if told.isupper() else told in err
    assert "Traceback" not in err


def test_a_bug_exits_1_and_asks_for_a_report_without_a_traceback(run, monkeypatch):
    def broken(*arguments, **keywords):
        raise RuntimeError("something odd")

    monkeypatch.setattr(catalogue, "show_list", broken)
    code, _, err = run("list")
    assert code == 1
    assert "This is a bug in vit-keras: RuntimeError: something odd" in err
    assert "Traceback" not in err
    assert "Traceback (most recent call last)" in run("list", "--debug")[2]


@pytest.mark.parametrize(("error", "expected"), [(MemoryError("12 GiB"), 7), (KeyboardInterrupt(), 130)])
def test_other_ends_have_their_codes_and_no_traceback(run, monkeypatch, error, expected):
    def broken(*arguments, **keywords):
        raise error

    monkeypatch.setattr(catalogue, "show_list", broken)
    code, _, err = run("list")
    assert code == expected
    assert err.strip()
    assert "Traceback" not in err


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such pipes")
def test_a_reader_that_has_gone_is_no_error():
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([*COMMAND, "list"], stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert done.returncode == 0
    assert done.stderr == ""


# --- train, refused


def test_an_existing_run_directory_exits_6_and_is_untouched(run, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("mine")
    before = snapshot(tmp_path)
    code, _, err = run("train", "--run-dir", tmp_path / "run")
    assert code == 6
    assert f"{tmp_path / 'run'} exists, and nothing is overwritten" in err
    assert "Traceback" not in err
    assert snapshot(tmp_path) == before


def test_bad_options_are_all_refused_at_once(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(
        "train",
        "--epochs",
        0,
        "--batch-size",
        -1,
        "--limit",
        0,
        "--seed",
        -1,
        "--preset",
        "vit_picco",
        "--precision",
        "half",
    )
    assert code == 2
    assert out == ""
    for reason in (
        "epochs must be an integer of at least 1, got 0",
        "batch_size must",
        "limit must",
        "seed must",
        "no preset 'vit_picco'",
        "vit_pico",
        "precision='half'",
    ):
        assert reason in err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("data", ["./nowhere", "emojis", "someone:their_data"])
def test_data_that_is_not_there_exits_3(run, tmp_path, monkeypatch, data):
    monkeypatch.chdir(tmp_path)
    code, _, err = run("train", "--data", data)
    assert code == 3
    assert data.removeprefix("./") in err
    assert "Traceback" not in err
    assert not list(tmp_path.iterdir())


def test_resuming_needs_a_run(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("train", "--resume")[0] == 2
    code, _, err = run("train", "--resume", "--run-dir", tmp_path / "nowhere")
    assert code == 6
    assert "nowhere is not a run directory" in err
    assert not list(tmp_path.iterdir())


@pytest.fixture
def interrupted(tmp_path):
    """The record of a run that was interrupted, with options that are not the default ones."""
    options = {
        "data": "emoji", "preset": "vit_pico_patch4_32", "epochs": 5, "batch_size": 32, "limit": 64, "seed": 3,
        "precision": "float32",
    }  # fmt: skip
    parts = {key: {} for key in ("config", "recipe", "data", "environment", "seconds")}
    record = {"status": "interrupted", "command": "train", "options": options, "precision": "float32", **parts}
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    return tmp_path / "run"


@pytest.mark.parametrize(
    ("option", "value"),
    [("--epochs", 6), ("--epochs", 16), ("--seed", 4), ("--seed", 0), ("--precision", "auto"), ("--data", "mnist")],
)
def test_resuming_with_another_option_exits_2_also_where_it_is_a_default(run, interrupted, option, value):
    before = snapshot(interrupted)
    code, _, err = run("train", "--resume", "--run-dir", interrupted, option, value)
    assert code == 2
    assert "started with other options" in err
    assert str(value) in err
    assert snapshot(interrupted) == before


@pytest.mark.parametrize(
    "content", ["", "[]", '{"status": "interrupted", "options": 3}', '{"status": 1, "options": {"x": 1}}']
)
def test_a_damaged_record_exits_4_or_2_and_is_named(run, interrupted, content):
    (interrupted / "run.json").write_text(content)
    for command in (("train", "--resume", "--run-dir", interrupted), ("evaluate", interrupted)):
        code, _, err = run(*command)
        assert code in (2, 4)
        assert "run.json" in err
        assert "Traceback" not in err


def test_evaluating_an_unfinished_run_says_how_to_go_on(run, interrupted):
    code, _, err = run("evaluate", interrupted)
    assert code == 2
    assert f"vit-keras train --resume --run-dir {interrupted}" in err


def test_evaluating_what_is_no_run_exits_6(run, tmp_path):
    code, _, err = run("evaluate", tmp_path / "nowhere")
    assert code == 6
    assert "nowhere is not a run directory" in err


# --- predict


def rows_of(out):
    """Returns the lines of an image's classes as (percentage, name)."""
    return [(float(number), name) for number, name in re.findall(r"^ +([\d.]+)% +(.+)$", out, flags=re.MULTILINE)]


def test_predict_names_the_five_likeliest_classes(run, zoo_of_seven, picture):
    code, out, err = run("predict", zoo_of_seven, picture)
    assert code == 0
    assert err == ""
    assert out.splitlines()[0] == str(picture)
    numbers, names = zip(*rows_of(out), strict=True)
    assert len(set(names)) == 5
    assert set(names) <= set(CLASS_NAMES)
    assert sorted(numbers, reverse=True) == list(numbers)


def test_predict_says_what_the_model_says(run, zoo_of_seven, picture):
    from vit_keras.data import Preprocessing
    from vit_keras.data.images.decode import read_image
    from vit_keras.zoo.preset_directory import from_preset

    pixels = read_image(picture, Preprocessing(image_size=(16, 16)))
    (logits,) = from_preset(zoo_of_seven).predict(pixels[None], verbose=0).astype("float64")
    expected = np.exp(logits) / np.exp(logits).sum()
    code, out, _ = run("predict", zoo_of_seven, picture, "--json")
    assert code == 0
    (row,) = json.loads(out)
    assert row["file"] == str(picture)
    assert [item["name"] for item in row["classes"]] == [CLASS_NAMES[index] for index in np.argsort(-expected)[:5]]
    np.testing.assert_allclose([item["probability"] for item in row["classes"]], np.sort(expected)[:1:-1], rtol=1e-4)


def test_predict_of_three_classes_sums_to_one(run, tiny_preset, picture):
    (row,) = json.loads(run("predict", tiny_preset, picture, "--json")[1])
    assert len(row["classes"]) == 3
    assert sum(item["probability"] for item in row["classes"]) == pytest.approx(1)


def test_predict_takes_a_run_directory(run, tiny_preset, picture, tmp_path):
    shutil.copytree(tiny_preset, tmp_path / "run" / "model")
    assert run("predict", tmp_path / "run", picture, "--json")[1] == run("predict", tiny_preset, picture, "--json")[1]


def test_bad_files_are_named_and_skipped_and_the_good_one_is_still_predicted(run, tiny_preset, picture, bad_files):
    before = snapshot(picture.parent)
    code, out, err = run("predict", tiny_preset, *bad_files[:3], picture, *bad_files[3:])
    assert code == 3
    assert out.splitlines()[0] == str(picture)
    assert len(rows_of(out)) == 3
    lines = err.splitlines()
    assert len(lines) == len(bad_files)
    for line, path in zip(lines, bad_files, strict=True):
        assert line.startswith(f"skipped {path}: ")
    assert snapshot(picture.parent) == before


def test_bad_files_are_rows_of_the_json(run, tiny_preset, picture, bad_files):
    code, out, err = run("predict", tiny_preset, *bad_files, picture, "--json")
    assert code == 3
    assert err == ""
    rows = json.loads(out)
    assert [row["file"] for row in rows] == [str(path) for path in (*bad_files, picture)]
    assert all(row.keys() == {"file", "error"} for row in rows[:-1])
    assert rows[-1].keys() == {"file", "classes"}


@pytest.mark.parametrize("name", ["été 猫 😀.png", "[red]a b.png", "new\nline.png", "%d {}.png", "-.png"])
def test_predict_takes_files_of_any_name(run, tiny_preset, picture, name):
    path = picture.rename(picture.with_name(name))
    code, out, _ = run("predict", tiny_preset, path)
    assert code == 0
    assert out.startswith(str(path))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has names that are no text")
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_predict_takes_files_whose_names_are_no_text(run, tiny_preset, picture, options):
    path = picture.with_name(os.fsdecode(b"caf\xe9.png"))
    picture.rename(path)
    code, out, err = run("predict", tiny_preset, path, *options)
    assert code == 0, err
    assert "caf" in out
    path.write_bytes(b"")
    code, out, err = run("predict", tiny_preset, path, *options)
    assert code == 3
    assert "caf" in out + err


def test_predicting_with_a_run_that_is_not_there_exits_6(run, picture, tmp_path):
    code, out, err = run("predict", tmp_path / "nowhere", picture)
    assert code == 6
    assert out == ""
    assert "nowhere" in err
    assert "Traceback" not in err


def test_predicting_with_a_run_that_has_no_model_yet_says_so(run, picture, interrupted):
    code, _, err = run("predict", interrupted, picture)
    assert code in (2, 6)
    assert str(interrupted) in err
    assert "Traceback" not in err


def test_predicting_with_a_damaged_model_exits_4(run, tiny_preset, picture, tmp_path):
    preset = shutil.copytree(tiny_preset, tmp_path / "mine")
    weights = preset / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-9])
    code, _, err = run("predict", preset, picture)
    assert code == 4
    assert "model.safetensors" in err


@pytest.mark.parametrize("labels", [["cat"], ["cat", "dog", "owl", "yak"]])
def test_predicting_with_labels_that_are_not_as_many_as_the_classes_exits_4(
    run, tiny_preset, picture, tmp_path, labels
):
    preset = shutil.copytree(tiny_preset, tmp_path / "mine")
    (preset / "labels.json").write_text(json.dumps(labels))
    code, _, err = run("predict", preset, picture)
    assert code == 4
    assert "labels.json" in err


def test_predicting_without_a_head_exits_2(run, tiny_config, picture, tmp_path):
    from vit_keras.models.vit import vit
    from vit_keras.zoo.preset_directory import save_preset

    code, _, err = run("predict", save_preset(vit(tiny_config), tmp_path / "headless"), picture)
    assert code == 2
    assert "no head" in err


def test_debug_shows_the_traceback(run, tmp_path, picture):
    code, _, err = run("predict", tmp_path / "nowhere", picture, "--debug")
    assert code == 6
    assert "Traceback (most recent call last)" in err
    assert "StorageError" in err


# --- a whole run


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT to send")
def test_ctrl_c_keeps_the_epochs_done_and_its_last_line_goes_on_to_the_end(run, picture, tmp_path):
    arguments = [
        "train",
        "--limit",
        "128",
        "--preset",
        "vit_pico_patch4_32",
        "--epochs",
        "4",
        "--batch-size",
        "32",
        "--seed",
        "1",
    ]
    process = subprocess.Popen(
        [*COMMAND, *arguments], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    printed = []
    for line in process.stdout:
        printed.append(line)
        if line.startswith("epoch   1/4"):
            process.send_signal(signal.SIGINT)
            break
    rest, err = process.communicate(timeout=120)
    assert process.returncode == 75, "".join(printed) + rest + err
    assert "Traceback" not in err
    rows = (tmp_path / "runs" / "emoji-1" / "metrics.csv").read_text().splitlines()
    assert rows[0].startswith("epoch,")
    assert 2 <= len(rows) < 5
    assert json.loads((tmp_path / "runs" / "emoji-1" / "run.json").read_text())["status"] == "interrupted"

    last = err.strip().splitlines()[-1]
    assert last.startswith("Interrupted")
    typed = shlex.split(last[last.index("vit-keras train") :].rstrip("."))[1:]
    resumed = subprocess.run([*COMMAND, *typed, "--json"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert resumed.returncode == 0, resumed.stderr
    result = json.loads(resumed.stdout)
    assert result.keys() == {"run", "test_accuracy", "nearest_neighbour_accuracy", "seconds"}
    folder = tmp_path / "runs" / "emoji-1"
    assert [row.split(",")[0] for row in (folder / "metrics.csv").read_text().splitlines()] == [
        "epoch",
        "1",
        "2",
        "3",
        "4",
    ]

    code, out, _ = run("evaluate", folder, "--json")
    assert code == 0
    assert json.loads(out) == {"test_accuracy": result["test_accuracy"], "recorded": result["test_accuracy"]}
    assert "the same" in run("evaluate", folder)[1]
    assert len(rows_of(run("predict", folder, picture)[1])) == 5
    again, out, _ = run(*typed[:-1], folder)
    assert again == 0
    assert "already complete" in out


FINETUNE = [
    "finetune", "vit_pico_patch4_32", "emoji", "--limit", "128", "--method", "head_first", "--epochs", "4", "--batch-size", "32",
    "--precision", "float32",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to send")
def test_sigterm_finishes_the_step_and_fine_tuning_goes_on_to_the_same_bits(run, tmp_path):
    def started(folder, *arguments):
        command = [*COMMAND, *FINETUNE, "--run-dir", str(folder), *arguments]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    stopped = started(tmp_path / "stopped")
    for line in stopped.stdout:
        if line.startswith("epoch   2/4"):
            stopped.send_signal(signal.SIGTERM)
            break
    _, err = stopped.communicate(timeout=120)
    assert stopped.returncode == 75, err
    assert f"vit-keras finetune --resume --run-dir {tmp_path / 'stopped'}" in err
    code, _, err = run("finetune", "--resume", "--run-dir", tmp_path / "stopped", "--epochs", 5)
    assert code == 2
    assert "epochs: 4 then, 5 now" in err
    resumed = [*COMMAND, "finetune", "--resume", "--run-dir", str(tmp_path / "stopped")]
    assert subprocess.run(resumed, capture_output=True, check=False).returncode == 0
    whole = started(tmp_path / "whole")
    whole.communicate(timeout=240)
    assert whole.returncode == 0
    weights = [tmp_path / name / "model" / "model.safetensors" for name in ("stopped", "whole")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_fine_tuning_needs_a_preset_and_data(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = run("finetune")
    assert (code, list(tmp_path.iterdir())) == (2, [])
    assert "PRESET and DATA missing: vit-keras finetune PRESET DATA" in err
    code, _, err = run("finetune", "vit_pico_patch4_32", "emoji", "--limit", 64, "--set", "learning_rate")
    assert (code, list(tmp_path.iterdir())) == (2, [])
    assert "--set learning_rate: expected FIELD=VALUE" in err
    code, _, err = run("finetune", "vit_pico_patch4_32", "emoji", "--limit", 64, "--set", "learn_rate=1")
    assert (code, list(tmp_path.iterdir())) == (2, [])
    assert "'learning_rate'" in err


def test_fine_tuning_a_saved_preset_on_a_folder_prints_what_was_chosen_and_what_came_of_it(
    run, tiny_preset, image_folder, tmp_path
):
    arguments = ("--method", "linear_probe", "--run-dir", tmp_path / "run", "--set", 'class_weights="balanced"')
    code, out, err = run("finetune", tiny_preset, image_folder, *arguments)
    assert code == 0, err
    assert "choice   method linear_probe: as asked" in out
    assert "choice   class_weights balanced: as asked" in out
    assert f"look at            {tmp_path / 'run'}/report.html" in out
    code, out, _ = run("evaluate", tmp_path / "run", "--json")
    assert code == 0
    result = json.loads(out)
    assert result["test_accuracy"] == result["recorded"]
