"""A search over a table of learning curves instead of training."""

from typing import Any

import numpy as np

from vit_keras.tuning.strategy.budget import Budget
from vit_keras.tuning.strategy.halving import Halving, make_rungs
from vit_keras.tuning.strategy.policy import Policy, Step
from vit_keras.tuning.strategy.sampling import Sampler
from vit_keras.tuning.study.objectives import Objective
from vit_keras.tuning.study.study import Study

EPOCHS = 8


class Table:
    """Rows of a space of three dimensions, of which the first matters most, each with a learning curve."""

    def __init__(self, rows: int = 48, *, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.places = rng.random((rows, 3))
        quality = 0.9 - 0.5 * (self.places[:, 0] - 0.6) ** 2 - 0.05 * self.places[:, 1]
        rise = 0.4 * np.arange(1, EPOCHS + 1) ** -0.7
        self.curves = quality[:, None] - rise + rng.normal(0, 0.003, (rows, EPOCHS))

    def first(self) -> list[tuple[str, dict[str, Any]]]:
        return [("default", {"row": 0})]

    def draw(self, count: int, rng: np.random.Generator) -> list[dict[str, Any]]:
        return [{"row": int(row)} for row in rng.permutation(len(self.places))[:count]]

    def draw_near(self, values: dict[str, Any], count: int, rng: np.random.Generator) -> list[dict[str, Any]]:
        distances = np.abs(self.places - self.places[values["row"]]).sum(1)
        return [{"row": int(row)} for row in np.argsort(distances)[1 : count + 1]]

    def encode(self, values: dict[str, Any]) -> np.ndarray:
        return self.places[values["row"]]

    def make_key(self, values: dict[str, Any]) -> str:
        return str(values["row"])


def policy_of(table: Table, budget: str, *, seed: int = 0, factor: float = 2.0) -> Policy:
    chosen = make_rungs(EPOCHS, factor=factor)
    return Policy(Halving(chosen, factor), Sampler(table, seed=seed), Budget.parse(budget))


def new_study(*names: str) -> Study:
    objectives = [Objective("accuracy", "max"), *(Objective(name, "min") for name in names)]
    return Study(objectives, epochs=EPOCHS)


def begin(study: Study, step: Step, *, worker: str = "worker-0") -> int:
    """Notes that a step of a policy was begun, and returns the trial's number."""
    if step.what == "start":
        number = len(study.trials)
        costs = {"params": 1.0 + number}
        study.add({"what": "proposed", "trial": number, "values": step.values, "origin": step.origin, "costs": costs})
    else:
        number = step.trial.number
    study.add({"what": "started", "trial": number, "epochs": step.epochs, "worker": worker})
    return number


def train(study: Study, number: int, table: Table, *, until: int | None = None, seconds: float = 1.0) -> None:
    """Notes the epochs of a trial to where it was told to go, and that it got there."""
    trial = study.trials[number]
    for epoch in range(trial.epochs + 1, (until or trial.target) + 1):
        metrics = {"accuracy": float(table.curves[trial.values["row"], epoch - 1])}
        study.add({"what": "epoch", "trial": number, "epoch": epoch, "metrics": metrics, "seconds": seconds})
    if trial.epochs == trial.target:
        done = trial.epochs == EPOCHS
        study.add(
            {"what": "ended", "trial": number, "state": "COMPLETED"} if done else {"what": "waiting", "trial": number}
        )


def run(policy: Policy, study: Study, table: Table) -> list[dict[str, Any]]:
    """Searches to the end with one worker, and returns the values proposed in order."""
    while (step := policy.decide(study, seconds=study.epochs_trained)).what != "stop":
        train(study, begin(study, step), table)
    return [trial.values for trial in study.trials]
