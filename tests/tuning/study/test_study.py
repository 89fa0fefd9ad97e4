import pytest
from tuning import simulation
from tuning.simulation import Table, begin, new_study, train

from vit_keras.errors import CorruptFileError
from vit_keras.tuning.strategy.policy import Step
from vit_keras.tuning.study.objectives import Objective


def study_with(*curves, costs=None):
    study = new_study(*["params"] * bool(costs))
    for number, curve in enumerate(curves):
        begin(study, Step("start", len(curve), values={"row": number}, origin="random"))
        if costs:
            study.trials[number].costs = {"params": costs[number]}
        for epoch, value in enumerate(curve, start=1):
            row = {"accuracy": value}
            study.add({"what": "epoch", "trial": number, "epoch": epoch, "metrics": row, "seconds": 2.0})
    return study


def test_a_trial_goes_from_proposal_to_its_end():
    study, table = new_study(), Table()
    number = begin(study, Step("start", 1, values={"row": 3}, origin="random"))
    assert (study.trials[0].state, study.trials[0].starts) == ("RUNNING", 1)
    train(study, number, table)
    assert study.trials[0].is_waiting
    begin(study, Step("continue", simulation.EPOCHS, trial=study.trials[0]))
    train(study, number, table)
    assert study.trials[0].state == "COMPLETED"
    assert study.epochs_trained == simulation.EPOCHS


def test_an_epoch_that_is_trained_again_changes_nothing():
    study = study_with([0.1, 0.2])
    study.add({"what": "epoch", "trial": 0, "epoch": 2, "metrics": {"accuracy": 0.9}, "seconds": 2.0})
    assert [row["accuracy"] for row in study.trials[0].curve] == [0.1, 0.2]
    assert study.trials[0].seconds == 4.0


def test_more_epochs_rank_first_and_faults_not_at_all_and_less_is_better_for_a_min_objective():
    study = study_with([0.9], [0.3, 0.4], [0.3, 0.5], [0.99, 0.99])
    study.add({"what": "ended", "trial": 3, "state": "OOM", "reason": "no memory"})
    assert [trial.number for trial in study.ranking] == [2, 1, 0]
    study.objectives = (Objective("accuracy", "min"),)
    assert [trial.number for trial in study.ranking] == [1, 2, 0]


def test_several_objectives_give_a_pareto_front():
    study = study_with([0.5], [0.6], [0.55], [0.4], costs=[10.0, 30.0, 40.0, 5.0])
    for trial in study.trials:
        trial.state = "COMPLETED"
    assert [trial.number for trial in study.front] == [1, 0, 3]  # 2 is worse than 1 in both
    assert [trial.number for trial in study.ranking] == [1, 0, 3, 2]


@pytest.mark.parametrize(
    "record",
    [
        {"what": "dreamt"},
        {"what": "proposed", "trial": 5, "values": {}, "origin": "random", "costs": {}},
        {"what": "epoch", "trial": 0, "epoch": 4, "metrics": {}, "seconds": 1.0},
        {"what": "ended", "trial": 0, "state": "HAPPY"},
        {"what": "started", "trial": 9, "epochs": 1, "worker": "w"},
    ],
)
def test_a_record_that_does_not_follow_is_refused(record):
    study = study_with([0.5])
    with pytest.raises(CorruptFileError, match="journal"):
        study.add(record)
