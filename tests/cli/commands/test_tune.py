import json
import shlex
import tomllib

import pytest

from vit_keras import from_preset

SPACE = """
num_layers = 1
num_heads = 1
head_dim = 8
mlp_ratio = 2
patch_size = 8
stem = "patch"
pooling = "mean"
num_registers = 0
stochastic_depth_rate = 0.0
augmentation = "none"
batch_size = 32
"""


@pytest.fixture
def arguments(tmp_path):
    (tmp_path / "space.toml").write_text(SPACE)
    options = {"limit": 96, "space": tmp_path / "space.toml", "epochs": 2, "run-dir": tmp_path / "run"}
    return ("tune", "emoji", *(part for name, value in options.items() for part in (f"--{name}", value)))


@pytest.mark.slow
def test_a_search_ends_with_the_lines_that_load_its_model(run, arguments, tmp_path):
    code, out, _ = run(*arguments, "--budget", "2 trials")
    assert code == 0
    first, second = out.splitlines()[-2:]
    assert first == "import vit_keras as vk"
    directory = second.split('"')[1]
    assert from_preset(directory).output_shape == (None, 8)
    assert (tmp_path / "run" / "study.html").is_file()

    code, out, err = run(*arguments, "--budget", "2 trials")
    assert code == 6
    assert "--resume" in err

    code, out, err = run("tune", "--resume", "--run-dir", tmp_path / "run", "--budget", "3 trials", "--json")
    assert code == 0
    assert json.loads(out)["trials"] == 3
    assert "resumed  2 trials" in err


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (("tune",), "SOURCE missing"),
        (("tune", "emoji", "--budget", "soon"), "'30min'"),
        (("tune", "emoji", "--max-params", 100), "the smallest model"),
        (("tune", "--join", "there", "--budget", "1h", "--resume"), "so --resume, --budget would have no effect"),
        (("tune", "emoji", "--join", "there", "--workers", 0), "--workers must be at least 1"),
        (("tune", "emoji", "--objective", "happiness"), "it is not known whether"),
    ],
)
def test_what_can_t_be_searched_is_said_before_anything_is_trained(refused, tmp_path, monkeypatch, typed, message):
    monkeypatch.chdir(tmp_path)
    refused(2, message, *typed)
    assert not (tmp_path / "runs").exists()


def test_a_search_that_is_not_there_cannot_be_joined(refused, tmp_path):
    refused(6, "holds no search to join", "tune", "--join", tmp_path)


def interrupt(*arguments):
    raise KeyboardInterrupt


def test_an_interruption_before_the_search_began_leaves_nothing_and_says_what_to_type(
    run, arguments, tmp_path, monkeypatch
):
    monkeypatch.setattr("vit_keras.tuning.tuner.ViTTuner._check_objectives_are_logged", interrupt)
    typed = shlex.join(["vit-keras", *map(str, arguments)])
    for _ in range(2):  # the name of the directory is free again
        code, _, err = run(*arguments)
        assert (code, err) == (130, f"Interrupted. Run it again: {typed}\n")
        assert not (tmp_path / "run").exists()


def test_an_interrupted_search_is_resumed_by_the_line_that_is_printed(run, arguments, tmp_path, monkeypatch):
    monkeypatch.setattr("vit_keras.tuning.tuner.ViTTuner._check_objectives_are_logged", lambda *each: None)
    monkeypatch.setattr("vit_keras.tuning.tuner.ViTTuner._run_workers", interrupt)
    code, _, err = run(*arguments, "--budget", "2 trials")
    assert code == 75
    again = shlex.split(err.strip().splitlines()[-1].partition("Resume: ")[2])
    assert again == ["vit-keras", "tune", "--resume", "--run-dir", str(tmp_path / "run")]
    code, _, err = run(*again[1:])
    assert (code, "--resume" in err) == (75, True)  # it came as far as the first time
    config = tomllib.loads((tmp_path / "run" / "run.toml").read_text())
    assert config == {
        "command": "tune", "source": "emoji", "budget": "2 trials", "epochs": 2, "limit": 96,
        "space": str(tmp_path / "space.toml"),
    }  # fmt: skip
    code, _, err = run("tune", "--config", tmp_path / "run" / "run.toml", "--run-dir", tmp_path / "other")
    assert code == 75
    code, _, err = run(*arguments)
    assert (code, "--overwrite" in err) == (6, True)
    before = (tmp_path / "run" / "journal.jsonl").read_text()
    code, _, err = run(*arguments, "--overwrite", "--seed", 1)
    assert (code, (tmp_path / "run" / "journal.jsonl").read_text() == before) == (75, False)
