"""Several processes that share a search, each here a thread with its own journal, study and policy; nothing is trained."""

import json
import random
import threading
import time
from contextlib import ExitStack

import numpy as np
import pytest
from tuning.simulation import EPOCHS, Table, new_study, policy_of

from vit_keras.errors import ResumeError
from vit_keras.tuning import coordinator as module
from vit_keras.tuning.coordinator import Coordinator
from vit_keras.tuning.strategy.budget import Budget
from vit_keras.tuning.study import heartbeat
from vit_keras.tuning.study.journal import Journal
from vit_keras.tuning.study.run_directory import JOURNAL

pytestmark = pytest.mark.any_backend

VERSIONS = {"keras": "3.15.1"}


class Ordered(Table):
    """A table whose curves don't cross, so that every order of trials finds the same best row."""

    def __init__(self, rows=12):
        super().__init__(rows)
        self.curves = np.sort(np.random.default_rng(1).random(rows))[:, None] + np.arange(EPOCHS) / 100
        self.curves = self.curves[np.random.default_rng(2).permutation(rows)]


@pytest.fixture
def make(tmp_path):
    """Returns a function that makes the coordinator of another process of the same search."""
    Journal(tmp_path / JOURNAL).check_fingerprint({})

    def new(budget="12 trials", table=None, events=None):
        journal, study = Journal(tmp_path / JOURNAL), new_study()
        for record in journal.records:
            study.add(record)
        policy = policy_of(table or Ordered(), budget)
        on_event = (lambda record: None) if events is None else events.append
        return Coordinator(policy, study, journal, compute_costs=lambda values: {}, on_event=on_event)

    return new


@pytest.fixture
def join():
    """Returns a function that lets coordinators take part until the test ends."""
    with ExitStack() as stack:

        def enter(coordinator, *, versions=VERSIONS, resume=False, budget=None):
            budget = coordinator.budget if budget is None else budget
            stack.enter_context(coordinator.join(workers=1, versions=versions, budget=budget, resume=resume))
            return coordinator

        yield enter


def work(coordinator, table, *, most=10**6):
    """Trains trials until nothing is left to do, or `most` of them, and returns their numbers."""
    worker, numbers = f"{coordinator.name}-0", []
    while len(numbers) < most and (trial := coordinator.claim(worker)) != "stop":
        if trial == "wait":
            time.sleep(0.002)
            continue
        numbers.append(trial.number)
        train(coordinator, trial, table, until=trial.target)
        coordinator.release(trial.number, worker)
    return numbers


def train(coordinator, trial, table, *, until):
    for epoch in range(trial.epochs + 1, until + 1):
        metrics = {"accuracy": float(table.curves[trial.values["row"], epoch - 1])}
        if not coordinator.report(trial.number, f"{coordinator.name}-0", epoch=epoch, metrics=metrics, seconds=1.0):
            return


def replay(path):
    """Checks that no trial was started while another worker had it, and returns the trials of the journal."""
    study = new_study()
    for record in Journal(path).records:
        if record["what"] == "started":
            assert study.trials[record["trial"]].state != "RUNNING"
        study.add(record)
    return study


def test_four_processes_with_clocks_that_differ_find_the_best_of_one_and_never_share_a_trial(
    make, tmp_path, monkeypatch
):
    monkeypatch.setattr(time, "time", lambda: random.uniform(0, 1e10))
    table = Ordered()
    others = [make() for _ in range(4)]

    def take_part(each):
        with each.join(workers=1, versions=VERSIONS, budget=each.budget, resume=False):
            work(each, table)

    threads = [threading.Thread(target=take_part, args=(each,)) for each in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    study = replay(tmp_path / JOURNAL)
    assert sorted(trial.values["row"] for trial in study.trials) == list(range(12))
    assert study.best.values["row"] == int(table.curves[:, -1].argmax())
    assert {trial.state for trial in study.trials} == {"COMPLETED", "PRUNED"}
    assert study.is_finished
    for each in others:
        each.take_over_lost()
        assert [vars(trial) for trial in each.study.trials] == [vars(trial) for trial in study.trials]
        assert study.participants[each.name].left is not None
    assert sum(each.epochs for each in study.participants.values()) == study.epochs_trained
    assert not list(others[0].folder.iterdir())  # the signs of life of processes that left


@pytest.mark.parametrize(("budget", "trials", "epochs"), [("6 trials", 6, 48), ("20 epochs", 20, 20)])
def test_the_budget_is_that_of_the_whole_search(make, join, tmp_path, budget, trials, epochs):
    table = Ordered()
    first = join(make(budget, table))
    work(first, table, most=3)
    second = join(make("1000 trials", table), budget=first.budget)
    work(second, table, most=3)
    work(first, table)
    assert work(second, table) == []
    study = replay(tmp_path / JOURNAL)
    assert len(study.trials) <= trials
    assert study.epochs_trained <= epochs
    assert (study.budget, study.finished_by) == (budget, first.name)
    assert (first.ended_search, second.ended_search) == (True, False)


def test_the_trial_of_a_silent_process_is_continued_by_another_and_its_late_report_refused(
    make, join, tmp_path, monkeypatch
):
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 1000.0)  # the process is stopped after its first beat
    table, events, abandoned = Ordered(), [], []
    silent, other = join(make("1 trials", table)), join(make("1 trials", table, events))
    trial = silent.claim(f"{silent.name}-0", abandon=lambda: abandoned.append(True))
    train(silent, trial, table, until=1)
    silent.release(trial.number, f"{silent.name}-0")
    trial = silent.claim(f"{silent.name}-0", abandon=lambda: abandoned.append(True))
    train(silent, trial, table, until=trial.target - 1)
    assert other.claim("nobody") == "wait"
    monkeypatch.setattr(module, "LEASE_SECONDS", 0.01)
    time.sleep(0.05)
    taken = other.claim(f"{other.name}-0")
    assert (taken.number, taken.epochs, taken.workers) == (0, EPOCHS - 1, [f"{silent.name}-0", f"{other.name}-0"])
    assert [(event["what"], event.get("lost")) for event in events if event["what"] == "left"] == [("left", True)]
    reported = silent.report(0, f"{silent.name}-0", epoch=EPOCHS, metrics={"accuracy": 9.0}, seconds=1.0)
    assert (reported, abandoned) == (False, [True])
    silent.release(0, f"{silent.name}-0")  # changes nothing
    train(other, taken, table, until=taken.target)
    other.release(0, f"{other.name}-0")
    with make().join(workers=1, versions=VERSIONS, budget=Budget(trials=2), resume=False):
        pass
    study = replay(tmp_path / JOURNAL)
    assert [row["accuracy"] for row in study.trials[0].curve] == list(table.curves[study.trials[0].values["row"]])
    assert study.participants[silent.name].lost
    assert silent.claim(f"{silent.name}-0").number == 1  # it takes part again
    assert not replay(tmp_path / JOURNAL).participants[silent.name].lost


def test_a_process_that_leaves_gives_its_trial_to_others_at_once(make, join, tmp_path):
    table = Ordered()
    with make().join(workers=1, versions=VERSIONS, budget=None, resume=False):
        pass
    other = join(make())
    leaving = make()
    with leaving.join(workers=1, versions=VERSIONS, budget=None, resume=False):
        trial = leaving.claim(f"{leaving.name}-0")
        assert trial.starts == 1
    trial = other.claim(f"{other.name}-0")
    assert (trial.number, trial.starts, trial.reason) == (0, 1, "")
    train(other, trial, table, until=1)
    assert not leaving.heartbeat_file.exists()


def test_a_trial_that_was_killed_before_its_model_was_saved_is_finished_by_another(make, join, tmp_path):
    table = Ordered(rows=1)
    killed = make("1 trials", table)
    with killed.join(workers=1, versions=VERSIONS, budget=killed.budget, resume=False):
        work(killed, table, most=1)
        trial = killed.claim(f"{killed.name}-0")
        train(killed, trial, table, until=EPOCHS)
    other = join(make("1 trials", table))
    trial = other.claim(f"{other.name}-0")
    assert (trial.epochs, trial.target) == (EPOCHS, EPOCHS)
    other.release(0, f"{other.name}-0")
    assert other.claim(f"{other.name}-0") == "stop"
    assert replay(tmp_path / JOURNAL).best.number == 0


def test_a_larger_budget_reaches_every_process_and_continues_a_finished_search(make, join, tmp_path):
    table = Ordered()
    first = join(make("2 trials", table))
    work(first, table)
    assert first.study.is_finished
    second = join(make(table=table), resume=True, budget=Budget(trials=3))
    work(second, table)
    assert first.claim(f"{first.name}-0") == "stop"
    assert first.budget.trials == 3
    assert len(replay(tmp_path / JOURNAL).trials) == 3


def test_other_versions_are_refused_with_their_names_unless_nobody_is_left_to_disagree(make, join):
    other = {"keras": "4.0"}
    with make().join(workers=1, versions=VERSIONS, budget=None, resume=False):
        for resume in (False, True):
            alive = make()
            alive._watch.has_changed = lambda name: True
            with pytest.raises(ResumeError, match=r'keras: "3\.15\.1" then, "4\.0" now'):
                join(alive, versions=other, resume=resume)
    with pytest.raises(ResumeError, match="other versions"):
        join(make(), versions=other)
    join(make(), versions=other, resume=True)
    join(make(), versions=other)


def test_running_time_is_taken_over_from_others_and_a_search_of_an_earlier_version_continues(make, join, tmp_path):
    started = {"what": "started", "trial": 0, "epochs": 2, "worker": "tuner0-0", "at": 50.5}
    proposed = {"what": "proposed", "trial": 0, "values": {"row": 0}, "origin": "default", "costs": {}, "at": 50.0}
    with (tmp_path / JOURNAL).open("a") as file:  # an earlier version wrote no numbers
        file.write(json.dumps(proposed) + "\n" + json.dumps(started) + "\n")
    first = join(make())
    assert 50.5 <= first.journal.seconds < 80
    trial = first.claim(f"{first.name}-0")
    assert (trial.number, trial.starts) == (0, 2)  # nobody can be alive in it
    first.journal.advance_clock(500.0)
    second = make()
    heartbeat.beat_path(first.folder, first.name).write_text(json.dumps({"beats": 7, "seconds": 900.0}))
    join(second)
    assert second.journal.seconds >= 900
