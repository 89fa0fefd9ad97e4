import numpy as np
import pytest
from tuning import simulation
from tuning.simulation import EPOCHS, Table, begin, new_study, policy_of, train

from vit_keras.errors import InvalidArgumentError
from vit_keras.tuning.strategy.budget import Budget
from vit_keras.tuning.strategy.halving import make_rungs
from vit_keras.tuning.strategy.stopping import prune_reason
from vit_keras.tuning.study.study import Study


@pytest.mark.parametrize("budget", ["40 epochs", "60s", "20 trials"])
def test_a_budget_is_kept_and_the_best_trial_reaches_the_horizon(budget):
    table, study = Table(), new_study()
    simulation.run(policy_of(table, budget), study, table)
    spent = len(study.trials) if "trials" in budget else study.epochs_trained
    assert spent <= int("".join(filter(str.isdigit, budget)))
    assert study.ranking[0].state == "COMPLETED"
    assert len(study.trials) > 5


def test_a_quarter_of_the_full_cost_finds_a_score_within_half_a_point_of_the_best_in_nine_searches_of_ten():
    shortfalls = []
    for seed in range(20):
        table, study = Table(seed=seed % 4), new_study()
        simulation.run(policy_of(table, "96 epochs", seed=seed), study, table)
        final = table.curves[:, -1]
        shortfalls.append(final.max() - final[study.ranking[0].values["row"]])
    assert np.mean(np.array(shortfalls) <= 0.005) >= 0.9


def test_nothing_is_proposed_twice_and_a_small_space_ends_the_search():
    table, study = Table(rows=12), new_study()
    proposed = simulation.run(policy_of(table, "1000 epochs"), study, table)
    assert sorted(values["row"] for values in proposed) == list(range(12))


def test_a_killed_search_proposes_the_same():
    table = Table()
    whole = new_study()
    expected = simulation.run(policy_of(table, "96 epochs", seed=3), whole, table)
    killed, records = new_study(), []
    add = killed.add
    killed.add = lambda record: (records.append(record), add(record))
    policy = policy_of(table, "96 epochs", seed=3)
    for _ in range(25):
        train(killed, begin(killed, policy.decide(killed)), table)
    resumed = Study(killed.objectives, epochs=EPOCHS, records=records)
    assert simulation.run(policy_of(table, "96 epochs", seed=3), resumed, table) == expected


def test_a_trial_among_the_best_of_its_rung_is_promoted_but_not_after_a_fault():
    table, study = Table(), new_study()
    policy = policy_of(table, "96 epochs")
    for _ in range(2):
        train(study, begin(study, policy.decide(study)), table)
    step = policy.decide(study)
    best = max(study.trials, key=lambda trial: trial.curve[0]["accuracy"])
    assert (step.what, step.trial, step.epochs) == ("continue", best, 2)
    study.add({"what": "ended", "trial": best.number, "state": "FAILED", "reason": "no number"})
    assert policy.decide(study).what == "start"


def test_workers_do_not_wait_and_a_trial_whose_worker_was_lost_continues_first():
    study, policy = new_study(), policy_of(Table(), "96 epochs")
    assert [begin(study, policy.decide(study), worker=str(worker)) for worker in range(4)] == [0, 1, 2, 3]
    study.add({"what": "waiting", "trial": 2, "reason": "lost"})
    step = policy.decide(study)
    assert (step.what, step.trial.number, step.epochs) == ("continue", 2, 1)


def test_a_trial_that_can_no_longer_win_is_pruned():
    table, study = Table(), new_study()
    rows = np.argsort(table.curves[:, -1])
    for number, row in enumerate((*rows[-3:], rows[0])):
        study.add({"what": "proposed", "trial": number, "values": {"row": int(row)}, "origin": "random", "costs": {}})
        study.add({"what": "started", "trial": number, "epochs": EPOCHS, "worker": "w"})
        train(study, number, table, until=EPOCHS if number < 3 else 5)
    assert "would stay below the best" in prune_reason(study, study.trials[3])
    assert not prune_reason(study, study.trials[2])


def test_several_objectives_give_a_pareto_front():
    table, study = Table(), new_study("params")
    simulation.run(policy_of(table, "96 epochs"), study, table)
    costs = [trial.costs["params"] for trial in study.front]
    assert costs == sorted(set(costs), reverse=True) != []


@pytest.mark.parametrize(("words", "budget"), [("1.5h", Budget(seconds=5400)), ("200 epochs", Budget(epochs=200)), ("1 trial", Budget(trials=1)), ("90 s", Budget(seconds=90))])  # fmt: skip
def test_budgets_are_parsed(words, budget):
    assert Budget.parse(words) == budget == Budget.parse(str(budget))


@pytest.mark.parametrize("words", ["", "30", "-3 trials", "3 parsecs"])
def test_other_budgets_are_refused(words):
    with pytest.raises(InvalidArgumentError, match="budget"):
        Budget.parse(words)


def test_rungs_rise_to_the_horizon():
    assert make_rungs(1) == (1,)
    assert make_rungs(81, factor=3) == (1, 3, 9, 27, 81)
    assert make_rungs(10, first=4) == (4, 10)
    with pytest.raises(InvalidArgumentError, match="first_rung=4"):
        make_rungs(3, first=4)
