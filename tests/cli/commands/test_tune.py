import json

import pytest

from vit_keras import from_preset

SPACE = """
num_layers = [1, 2]
num_heads = [1, 2]
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
    code, out, _ = run(*arguments, "--budget", "3 trials")
    assert code == 0
    first, second = out.splitlines()[-2:]
    assert first == "import vit_keras as vk"
    directory = second.split('"')[1]
    assert from_preset(directory).output_shape == (None, 8)
    assert (tmp_path / "run" / "study.html").is_file()

    code, out, err = run(*arguments, "--budget", "3 trials")
    assert code == 6
    assert "--resume" in err

    code, out, err = run("tune", "--resume", "--run-dir", tmp_path / "run", "--budget", "4 trials", "--json")
    assert code == 0
    assert json.loads(out)["trials"] == 4
    assert "resumed  3 trials" in err


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (("tune",), "SOURCE missing"),
        (("tune", "emoji", "--budget", "soon"), "'30min'"),
        (("tune", "emoji", "--max-params", 100), "the smallest model"),
        (("tune", "emoji", "--role", "chief"), "--role and --address need each other"),
        (("tune", "emoji", "--role", "boss", "--address", "a:1", "--run-dir", "r"), "chief or worker"),
        (("tune", "emoji", "--objective", "happiness"), "it is not known whether"),
    ],
)
def test_what_can_t_be_searched_is_said_before_anything_is_trained(refused, tmp_path, monkeypatch, typed, message):
    monkeypatch.chdir(tmp_path)
    refused(2, message, *typed)
    assert not (tmp_path / "runs").exists()
