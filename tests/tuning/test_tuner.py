import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import keras_tuner
import pytest
from pages import Page, assert_needs_nothing_else
from rich.console import Console
from tuning.hypermodels import Nasty, Tiny, images

from vit_keras.data import load
from vit_keras.errors import InvalidArgumentError, NoCompletedTrialError, ResumeError, StorageError
from vit_keras.tuning import TrialLimits, TunerOptions, ViTTuner, search
from vit_keras.tuning.search_options import SearchOptions
from vit_keras.tuning.searching import plan_search
from vit_keras.tuning.study.journal import Journal
from vit_keras.tuning.study.run_directory import JOURNAL

OPTIONS = TunerOptions(epochs=2, factor=2)
SHALLOW = Tiny(num_layers=[1], num_heads=[2])  # one shape to compile
SETTINGS = {"objective": ["val_accuracy", "params"], "options": OPTIONS}
SCRIPT = """
import sys
from tuning.hypermodels import Tiny, images
from vit_keras.tuning import TunerOptions, ViTTuner
ViTTuner(
    Tiny(num_layers=[1], num_heads=[2]), run_dir=sys.argv[1], budget="6 trials", objective=["val_accuracy", "params"],
    options=TunerOptions(epochs=2, factor=2),
).search(images())
"""


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]))


@pytest.fixture(scope="module")
def data():
    return images()


@pytest.fixture(scope="module")
def result(data, tmp_path_factory):
    run = tmp_path_factory.mktemp("search") / "run"
    return search(data, hypermodel=SHALLOW, run_dir=run, budget="6 trials", **SETTINGS)


@pytest.fixture(scope="module")
def searched(result):
    return ViTTuner(SHALLOW, run_dir=result.run_directory, **SETTINGS)


@pytest.mark.slow
def test_search_leaves_a_preset_a_page_and_a_table(result, data):
    assert result.model.output_shape == (None, 3)
    assert 0.3 < result.test_accuracy <= 1
    record = json.loads((result.run_directory / "search.json").read_text())
    assert record["best"]["trial"] == result.best.number
    assert len((result.run_directory / "study.csv").read_text().splitlines()) == 7
    page = Page((result.run_directory / "study.html").read_text())
    assert "Leaderboard" in page.words
    assert_needs_nothing_else(page)
    with pytest.raises(StorageError, match="--resume"):
        search(data, hypermodel=SHALLOW, run_dir=result.run_directory, **SETTINGS)


@pytest.mark.slow
def test_a_finished_search_is_read_and_keras_tuner_s_own_methods_work(searched, capsys):
    assert isinstance(searched, keras_tuner.Tuner)
    assert len(searched.study.trials) == 6
    assert {trial.state for trial in searched.study.trials} == {"COMPLETED", "PRUNED"}
    best = searched.best_trial()
    assert best.curve[-1]["val_accuracy"] > 0.5
    assert searched.get_best_models(1)[0].output_shape == (None, 3)
    values = searched.get_best_hyperparameters(1)[0]
    assert searched.hypermodel.build(values).output_shape == (None, 3)
    searched.results_summary(2)
    searched.search_space_summary()
    printed = capsys.readouterr().out
    assert "Results summary" in printed
    assert "learning_rate" in printed


def count_epochs(run):
    return sum(record["what"] == "epoch" for record in Journal(run / JOURNAL).records)


def test_latency_as_an_objective_is_measured_without_a_limit(tmp_path):
    tuner = ViTTuner(Tiny(), run_dir=tmp_path / "run", objective=["val_accuracy", "latency"], options=OPTIONS)
    assert 0 < tuner.coordinator.compute_costs(Tiny().default_values())["latency"] < 10


@pytest.mark.slow
def test_warm_start_tries_the_best_of_another_search_after_the_default(searched, tmp_path):
    options = TunerOptions(epochs=2, factor=2, warm_start=[searched.run_dir])
    tuner = ViTTuner(Tiny(), run_dir=tmp_path / "run", options=options)
    proposed = dict(tuner.coordinator.policy.sampler.candidates.first())
    assert proposed["default"] == Tiny().default_values()
    assert proposed["warm"] in [trial.values for trial in searched.study.trials]
    with pytest.raises(StorageError, match="holds no search"):
        ViTTuner(Tiny(), run_dir=tmp_path / "new", options=TunerOptions(warm_start=[tmp_path]))


@pytest.mark.slow
def test_a_finished_search_is_continued(searched, data, tmp_path):
    run = shutil.copytree(searched.run_dir, tmp_path / "run")
    more = ViTTuner(SHALLOW, run_dir=run, budget="7 trials", **SETTINGS)
    more.search(data)
    assert len(more.study.trials) == 7


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"hypermodel": Tiny(num_layers=[1, 2, 3])}, "space"),
        ({"objective": "val_loss"}, "objectives"),
        ({"options": TunerOptions(epochs=3, factor=2)}, "epochs"),
    ],
)
def test_resuming_with_other_settings_is_refused_with_the_difference(searched, data, change, named):
    with pytest.raises(ResumeError, match=named):
        ViTTuner(run_dir=searched.run_dir, **{"hypermodel": SHALLOW, **SETTINGS, **change}).search(data)


def test_a_directory_of_something_else_is_never_touched(tmp_path, data):
    (tmp_path / "thesis.txt").write_text("two years of work")
    for start in (
        lambda: ViTTuner(Tiny(), run_dir=tmp_path),
        lambda: search(data, hypermodel=Tiny(), run_dir=tmp_path),
    ):
        with pytest.raises(StorageError, match="nothing is removed"):
            start()
    assert (tmp_path / "thesis.txt").read_text() == "two years of work"


def test_a_search_by_name_has_the_options_of_the_command_line(tmp_path):
    options, tuner_options = (
        SearchOptions(max_params=50_000, image_size=16, limit=40, seed=5),
        TunerOptions(epochs=3, seed=5),
    )
    plan = plan_search(
        "emoji", options=options, space=None, hypermodel=None, tuner_options=tuner_options, console=Console(quiet=True)
    )
    assert plan.data.sizes == {"train": 40, "validation": 40, "test": 40}
    expected = load("emoji", image_size=16, limit=40, seed=5)
    assert plan.data.fingerprint == expected.fingerprint
    assert (plan.hypermodel.image_size, plan.hypermodel.limits.params) == ((16, 16), 50_000)
    assert plan.tuner_options == tuner_options


def test_arguments_that_exclude_each_other_are_refused(tmp_path, data):
    for given, message in (
        (
            {"hypermodel": Tiny(), "max_params": 9, "image_size": 8},
            "max_params, image_size has no effect with a hypermodel",
        ),
        ({"epochs": 3, "seed": 1, "options": OPTIONS}, "epochs, seed and options are both given"),
        ({"resume": True}, "needs the run_dir"),
    ):
        with pytest.raises(InvalidArgumentError, match=message):
            search(data, **given)


@pytest.mark.slow
def test_an_objective_that_is_not_logged_or_has_no_direction_is_refused_before_the_first_trial(tmp_path, data):
    tuner = ViTTuner(Tiny(), run_dir=tmp_path / "run", objective="val_auc", options=OPTIONS)
    with pytest.raises(InvalidArgumentError, match=r"does not log val_auc; it logs .*val_accuracy"):
        tuner.search(data)
    assert not tuner.study.trials
    for objective, message in (
        ("happiness", "is not known whether more or less of happiness"),
        ("params", "begins with one"),
    ):
        with pytest.raises(InvalidArgumentError, match=message):
            ViTTuner(Tiny(), run_dir=tmp_path / "other", objective=objective)


@pytest.mark.slow
def test_a_failing_trial_does_not_stop_the_search(tmp_path, data, monkeypatch):
    monkeypatch.setattr("vit_keras.tuning.coordinator.MOST_STARTS", 2)
    options = TunerOptions(epochs=2, factor=2, trial_limits=TrialLimits(silence=20.0), seed=2)
    tuner = ViTTuner(Nasty("kill", "hang", "memory", "bug"), run_dir=tmp_path / "run", budget="6 trials", options=options)  # fmt: skip
    tuner.search(data)
    states = {trial.values["fault"]: trial.state for trial in tuner.study.trials}
    expected = {"kill": "KILLED", "hang": "TIMEOUT", "memory": "OOM", "bug": "FAILED"}
    assert {fault: states.get(fault) for fault in expected} == expected
    killed = [trial for trial in tuner.study.trials if trial.state == "KILLED"]
    assert all("started 2 times" in trial.reason and "SIGKILL" in trial.reason for trial in killed)
    assert tuner.best_trial().values["fault"] == "none"


@pytest.mark.slow
def test_if_every_trial_fails_the_first_reason_is_named(tmp_path, data):
    nasty = Nasty("bug")
    nasty.space = nasty.space.fix(fault="bug")
    tuner = ViTTuner(nasty, run_dir=tmp_path / "run", budget="3 trials", options=OPTIONS)
    tuner._check_objectives_are_logged = lambda worker: None
    with pytest.raises(NoCompletedTrialError, match="RuntimeError: no luck"):
        tuner.search(data)


@pytest.mark.slow
def test_a_search_killed_repeatedly_gives_the_uninterrupted_result(searched, tmp_path, data):
    killed = tmp_path / "killed"
    for epochs in (1, 4):  # in the first trial, and among the others
        process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(killed)])
        while not (killed / JOURNAL).is_file() or count_epochs(killed) < epochs:
            assert process.poll() is None
            time.sleep(0.05)  # until the other process has written: only its journal tells how far it is
        process.kill()
        process.wait()
        assert count_epochs(killed) < count_epochs(searched.run_dir)
    for path in killed.glob("*.jsonl"):  # and the last line is torn
        with path.open("ab") as journal:
            journal.write(b'{"what": "epo')
    last = ViTTuner(SHALLOW, run_dir=killed, budget="6 trials", **SETTINGS)
    last.search(data)
    ours, theirs = ([(trial.values, trial.curve) for trial in tuner.study.trials] for tuner in (last, searched))
    assert ours == theirs
    assert len(Journal(killed / JOURNAL).records) > len(Journal(searched.run_dir / JOURNAL).records)
