"""The best trial is the same on screen, in the report and in its charts."""

import io
from types import SimpleNamespace

import pytest
from rich.console import Console
from tuning.hypermodels import images

from vit_keras.tuning.report import charts as study_charts
from vit_keras.tuning.report.page import write_study_report
from vit_keras.tuning.report.progress import SearchProgress, line_of
from vit_keras.tuning.strategy.budget import Budget
from vit_keras.tuning.study.study import Objective, Study

RUNGS = [  # trial, epochs it trains to, its accuracy per epoch
    (0, 1, [0.30]),
    (1, 1, [0.20]),
    (1, 2, [0.25]),
    (0, 2, [0.20]),
    (2, 2, [0.40, 0.28]),
]


def replay(study):
    """Adds the rungs one by one and yields the trial of each."""
    for number, until, curve in RUNGS:
        if number == len(study.trials):
            study.add({"what": "proposed", "trial": number, "values": {"row": number}, "origin": "random", "costs": {}})
        study.add({"what": "started", "trial": number, "epochs": until, "worker": "w"})
        for epoch, value in enumerate(curve, start=until - len(curve) + 1):
            row = {"val_accuracy": value, "val_loss": 1 - value}
            study.add({"what": "epoch", "trial": number, "epoch": epoch, "metrics": row, "seconds": 1.0})
        ends = until == study.epochs
        study.add(
            {"what": "ended", "trial": number, "state": "COMPLETED"} if ends else {"what": "waiting", "trial": number}
        )
        yield study.trials[number]


@pytest.fixture
def study():
    return Study([Objective("val_accuracy", "max")], epochs=2)


def test_the_best_so_far_is_a_completed_trial_and_never_gets_worse(study):
    lines = [line_of(study, trial) for trial in replay(study)]
    assert [line.partition("best so far: ")[2] for line in lines] == [
        "", "", "trial 1, 0.2500", "trial 1, 0.2500", "trial 2, 0.2800"
    ]  # fmt: skip


def test_the_page_the_chart_and_the_study_have_the_same_best(study, tmp_path, monkeypatch):
    list(replay(study))
    assert (study.best, study.front()[0], study.ranked()[0]) == (study.trials[2],) * 3
    write_study_report(tmp_path, study, data=images())
    page = (tmp_path / "study.html").read_text()
    assert "0.28" in page
    assert "val_accuracy, the best: trial 2" in page
    drawn = SimpleNamespace(plot=lambda x, y, **style: lines.append((x, y)), grid=lambda **style: None)
    lines: list[tuple[object, object]] = []
    monkeypatch.setattr(study_charts, "new_chart", lambda *words: (None, drawn))
    monkeypatch.setattr(study_charts, "svg", lambda figure: "")
    study_charts.best_by_cost(study)
    assert lines == [((2, 4, 6), (0.20, 0.25, 0.28))]


def test_a_page_before_any_trial_completed_has_no_best(study, tmp_path):
    next(replay(study))
    write_study_report(tmp_path, study, data=images())
    assert "the best: trial" not in (tmp_path / "study.html").read_text()


@pytest.mark.parametrize(("objective", "is_reported"), [("val_accuracy", True), ("val_loss", False)])
def test_the_resolution_of_one_image_is_reported_before_and_on_the_page(objective, is_reported, tmp_path):
    study, data, file = Study([Objective(objective, "max")], epochs=2), images(), io.StringIO()
    data = data.limit(20)
    SearchProgress(Console(file=file, width=200), Budget.of("2 trials")).introduce(data, tmp_path, study)
    list(replay(study))
    write_study_report(tmp_path, study, data=data)
    for words in (file.getvalue(), (tmp_path / "study.html").read_text()):
        assert ("measured on 20 images: one image is 0.05" in words) == is_reported
