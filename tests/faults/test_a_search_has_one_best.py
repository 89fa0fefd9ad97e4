"""The best trial is the same on screen, in the report and in its charts."""

import io
import re
from types import SimpleNamespace

import pytest
from rich.console import Console
from tuning.hypermodels import images

from vit_keras.tuning.report import charts as study_charts
from vit_keras.tuning.report.page import write_study_report
from vit_keras.tuning.report.progress import SearchProgress, format_line
from vit_keras.tuning.strategy.budget import Budget
from vit_keras.tuning.study.objectives import Objective
from vit_keras.tuning.study.study import Study

pytestmark = pytest.mark.any_backend

RUNGS = [  # trial, target epoch, its accuracy after each new epoch
    (0, 1, [0.30]),
    (1, 1, [0.20]),
    (1, 2, [0.25]),
    (0, 2, [0.20]),
    (2, 2, [0.40, 0.28]),
]


def play(study):
    """Adds the rungs one by one and yields the trial that reached one."""
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


def silent(**style):
    pass


@pytest.fixture
def study():
    return Study([Objective("val_accuracy", "max")], epochs=2)


def test_the_best_so_far_is_of_completed_trials_and_never_goes_down(study):
    lines = [format_line(study, trial) for trial in play(study)]
    assert [line.partition("best so far: ")[2] for line in lines] == [
        "", "", "trial 1, 0.2500", "trial 1, 0.2500", "trial 2, 0.2800"
    ]  # fmt: skip


def test_the_page_the_chart_and_the_line_have_the_same_best_once_a_trial_completed(study, tmp_path, monkeypatch):
    steps = play(study)
    next(steps)
    write_study_report(tmp_path, study, data=images())
    assert "best val_accuracy" not in (tmp_path / "study.html").read_text()
    list(steps)
    assert (study.best, study.front[0], study.ranking[0]) == (study.trials[2],) * 3
    write_study_report(tmp_path, study, data=images())
    page = (tmp_path / "study.html").read_text()
    assert "0.28" in page
    assert "best val_accuracy (trial 2)" in page
    drawn = SimpleNamespace(plot=lambda x, y, **style: lines.append((x, y)), grid=silent, legend=silent)
    lines: list[tuple[object, object]] = []
    monkeypatch.setattr(study_charts, "new_chart", lambda *words: (None, drawn))
    monkeypatch.setattr(study_charts, "svg", lambda figure: "")
    study_charts.draw_best_by_epochs(study)
    assert lines == [((2, 4, 6), (0.20, 0.25, 0.28))]


def test_the_screen_and_the_page_say_which_process_trained_what(study, tmp_path):
    file = io.StringIO()
    progress = SearchProgress(Console(file=file, width=200), Budget.parse("2 trials"))
    progress.introduce(images(), tmp_path, study)
    file.truncate(0)
    with progress.show(study, SimpleNamespace(seconds=0.0)):
        for at, record in enumerate(
            [
                {"what": "joined", "participant": "here", "host": "a", "workers": 1, "versions": {}},
                {"what": "joined", "participant": "there", "host": "b", "workers": 4, "versions": {}},
                {"what": "proposed", "trial": 0, "values": {"row": 0}, "origin": "default", "costs": {}},
                {"what": "started", "trial": 0, "epochs": 1, "worker": "there-3"},
                {"what": "epoch", "trial": 0, "epoch": 1, "metrics": {"val_accuracy": 0.5}, "seconds": 90.0},
                {"what": "waiting", "trial": 0},
                {"what": "started", "trial": 0, "epochs": 2, "worker": "there-3"},
                {"what": "left", "participant": "there", "lost": True},
                {"what": "waiting", "trial": 0, "reason": "lost"},
                {"what": "started", "trial": 0, "epochs": 2, "worker": "here-0"},
            ]
        ):
            study.add({**record, "at": 60.0 * at})
            progress.on_event(record)
    lines = [line.strip("\0").rstrip() for line in file.getvalue().splitlines()]
    assert "process  there joined" in lines
    assert "process  there was lost; others continue its trials" in lines
    assert not any("here joined" in line and "there" not in line for line in lines)
    assert any(line.startswith("trial    0") and line.endswith("by there-3") for line in lines)
    write_study_report(tmp_path, study, data=images())
    page = (tmp_path / "study.html").read_text()
    rows = page.partition("Who trained what")[2].split("<tr>")[2:4]
    assert [re.findall("<td[^>]*>(.*?)</td>", row) for row in rows] == [
        ["here", "a", "1", "0", "0", "0.0", "0.0", ""],
        ["there", "b", "4", "0", "1", "1.5", "1.0", "7.0 (lost)"],
    ]
    assert "there-3 here-0" in (tmp_path / "study.csv").read_text()


@pytest.mark.parametrize(("objective", "says"), [("val_accuracy", True), ("val_loss", False)])
def test_the_resolution_of_the_accuracy_is_shown_before_and_on_the_page(objective, says, tmp_path):
    study, data, file = Study([Objective(objective, "max")], epochs=2), images(), io.StringIO()
    data = data.limit(20)
    SearchProgress(Console(file=file, width=200), Budget.parse("2 trials")).introduce(data, tmp_path, study)
    list(play(study))
    write_study_report(tmp_path, study, data=data)
    for words in (file.getvalue(), (tmp_path / "study.html").read_text()):
        assert ("measured on 20 images, in steps of 0.05 (one image)" in words) == says
