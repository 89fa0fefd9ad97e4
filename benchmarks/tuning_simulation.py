"""Simulated searches of a table of trained configurations (tuning_table.py): ours compared with keras-tuner, Optuna and simple searches.

    python benchmarks/tuning_simulation.py [--searches 200]

Every search gets the same number of epochs: 10, 15, 25, 50 and 100 % of training the whole grid (48 configurations x 8 epochs). A search
sees the curves of one of the table's seeds. The result is the regret of its choice in points of final accuracy: on the curves it sees,
which a search can minimize, and on the mean of both seeds, which includes their noise. The lower bound, except for luck, is `all`: every
row trained to the end.

- `ours`: the proposals and promotions of `vk.tuning.search` with one worker.
- `one_epoch`: trains all for one epoch in random order, then the best of them to the end, one after another.
- `random`: random rows, trained to the end.
- `hyperband`, `bayesian`: the oracles of keras-tuner 1.4, called as by its tuners. Hyperband may continue trials, which the original
  cannot. Bayesian optimization takes seconds per search and gets a fifth of the searches.
- `optuna`: TPE with the Hyperband pruner, per epoch; left out if Optuna is not installed.

A configuration that is proposed again costs again, as in a real search; ours proposes none twice.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from typing import Any

import harness
import numpy as np
import tuning_table as table

from vit_keras.tuning.strategy.budget import Budget
from vit_keras.tuning.strategy.halving import Halving, make_rungs
from vit_keras.tuning.strategy.policy import Policy
from vit_keras.tuning.strategy.sampling import Sampler
from vit_keras.tuning.study.objectives import Objective
from vit_keras.tuning.study.study import Study

SHARES = (0.10, 0.15, 0.25, 0.50, 1.00)
CONFIGURATIONS = table.configurations()
GRID_EPOCHS = len(CONFIGURATIONS) * table.EPOCHS
Search = Callable[[np.ndarray, int, int], int]


class Rows:
    """The rows of the table as a search space."""

    def __init__(self) -> None:
        self.space = table.hypermodel().space
        fixed = {name: options[0] for name, options in table.FIXED.items()}
        self.points = np.stack([self.space.encode({**fixed, **values}) for values in CONFIGURATIONS])

    def first(self) -> list[tuple[str, dict[str, Any]]]:
        """Returns no row: none is known to be good."""
        return []

    def draw(self, count: int, rng: np.random.Generator) -> list[dict[str, Any]]:
        """Returns the rows in random order."""
        return [{"row": int(row)} for row in rng.permutation(len(CONFIGURATIONS))[:count]]

    def draw_near(self, values: dict[str, Any], count: int, rng: np.random.Generator) -> list[dict[str, Any]]:
        """Every row is drawn already."""
        return []

    def encode(self, values: dict[str, Any]) -> np.ndarray:
        """Returns the coordinates of a row."""
        return self.points[values["row"]]

    def make_key(self, values: dict[str, Any]) -> str:
        """A row's name."""
        return str(values["row"])


ROWS = Rows()


def ours(curves: np.ndarray, epochs: int, seed: int, *, factor: float = 2.0) -> int:
    """Returns the row that our search picks."""
    study = Study([Objective("val_accuracy", "max")], epochs=table.EPOCHS)
    chosen = make_rungs(table.EPOCHS, factor=factor)
    policy = Policy(Halving(chosen, factor), Sampler(ROWS, seed=seed), Budget(epochs=epochs))
    while (step := policy.decide(study)).what != "stop":
        number = len(study.trials) if step.trial is None else step.trial.number
        if step.trial is None:
            study.add({"what": "proposed", "trial": number, "values": step.values, "origin": step.origin, "costs": {}})
        trial = study.trials[number]
        study.add({"what": "started", "trial": number, "epochs": step.epochs, "worker": ""})
        for epoch in range(trial.epochs + 1, step.epochs + 1):
            metrics = {"val_accuracy": float(curves[trial.values["row"], epoch - 1])}
            study.add({"what": "epoch", "trial": number, "epoch": epoch, "metrics": metrics, "seconds": 0.0})
        done = step.epochs == table.EPOCHS
        study.add(
            {"what": "ended", "trial": number, "state": "COMPLETED"} if done else {"what": "waiting", "trial": number}
        )
    return int(study.ranking[0].values["row"])


def one_epoch(curves: np.ndarray, epochs: int, seed: int) -> int:
    """Returns the row that is best after one epoch of each."""
    order = np.random.default_rng(seed).permutation(len(curves))[: max(epochs - table.EPOCHS + 1, 1)]
    left = epochs - len(order)
    ranked = sorted(order, key=lambda row: -curves[row, 0])
    finished = ranked[: max(left // (table.EPOCHS - 1), 1)]
    return int(max(finished, key=lambda row: curves[row, -1]))


def everything(curves: np.ndarray, epochs: int, seed: int) -> int:
    """Returns the best of all rows trained to the end, whatever that costs; ties are broken at random."""
    best = np.flatnonzero(curves[:, -1] == curves[:, -1].max())
    return int(np.random.default_rng(seed).choice(best))


def random(curves: np.ndarray, epochs: int, seed: int) -> int:
    """Returns the best of random rows trained to the end."""
    order = np.random.default_rng(seed).permutation(len(curves))[: max(epochs // table.EPOCHS, 1)]
    return int(max(order, key=lambda row: curves[row, -1]))


def of_keras_tuner(kind: str) -> Search:
    """Searches with one of keras-tuner's oracles."""
    import keras_tuner

    class InMemory:
        """Writes nothing."""

        def save(self, *arguments: Any) -> None: ...

        def _save_trial(self, trial: Any) -> None: ...

    classes = {
        "hyperband": keras_tuner.oracles.HyperbandOracle,
        "bayesian": keras_tuner.oracles.BayesianOptimizationOracle,
    }
    oracle_class = type(kind, (InMemory, classes[kind]), {})

    def search(curves: np.ndarray, epochs: int, seed: int) -> int:
        space = keras_tuner.HyperParameters()
        for name, options in table.GRID.items():
            space.Choice(name, options, ordered=True)
        own = (
            {"max_epochs": table.EPOCHS, "factor": 3, "hyperband_iterations": 100}
            if kind == "hyperband"
            else {"max_trials": 1000}
        )
        oracle = oracle_class(
            objective=keras_tuner.Objective("val_accuracy", "max"), hyperparameters=space, seed=seed + 1, **own
        )
        oracle.verbose = 0
        best, score, spent = 0, -1.0, 0
        while spent < epochs:
            trial = oracle.create_trial("tuner0")
            if trial.status != "RUNNING":
                break
            values = trial.hyperparameters.values
            row = CONFIGURATIONS.index({name: values[name] for name in table.GRID})
            until, begun = values.get("tuner/epochs", table.EPOCHS), values.get("tuner/initial_epoch", 0)
            spent += until - begun
            found = float(curves[row, until - 1])
            oracle.update_trial(trial.trial_id, {"val_accuracy": found}, step=until)
            trial.status = "COMPLETED"
            oracle.end_trial(trial)
            if spent <= epochs and (found > score):
                best, score = row, found
        return best

    return search


def optuna_search() -> Search:
    """Searches with Optuna's TPE and its Hyperband pruner."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)

    def search(curves: np.ndarray, epochs: int, seed: int) -> int:
        pruner = optuna.pruners.HyperbandPruner(min_resource=1, max_resource=table.EPOCHS, reduction_factor=2)
        study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed), pruner=pruner)
        spent, best, score = 0, 0, -1.0
        while spent < epochs:
            trial = study.ask()
            chosen = {
                "num_layers": trial.suggest_int("num_layers", 2, 6, step=2),
                "num_heads": 2 ** trial.suggest_int("heads_power", 1, 2),
                "mlp_ratio": 2 ** trial.suggest_int("mlp_power", 1, 2),
                "learning_rate": table.GRID["learning_rate"][trial.suggest_int("rate_index", 0, 3)],
            }
            row, pruned = CONFIGURATIONS.index(chosen), False
            for epoch in range(table.EPOCHS):
                spent += 1
                if spent > epochs:
                    return best
                trial.report(float(curves[row, epoch]), epoch + 1)
                if epoch + 1 < table.EPOCHS and trial.should_prune():
                    pruned = True
                    break
            found = float(curves[row, epoch])
            study.tell(
                trial,
                None if pruned else found,
                state=optuna.trial.TrialState.PRUNED if pruned else optuna.trial.TrialState.COMPLETE,
            )
            if not pruned and found > score:
                best, score = row, found
        return best

    return search


def searches() -> Iterator[tuple[str, Search]]:
    """Returns every installed search method."""
    yield "ours", ours
    yield "all", everything
    yield "one_epoch", one_epoch
    yield "random", random
    yield "hyperband", of_keras_tuner("hyperband")
    yield "bayesian", of_keras_tuner("bayesian")
    try:
        yield "optuna", optuna_search()
    except ImportError:
        print("optuna is not installed: left out")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--searches", type=int, default=200)
    options = parser.parse_args()
    stored = table.read()
    curves = np.array(
        [[stored[number, seed] for number in range(len(CONFIGURATIONS))] for seed in range(table.SEEDS)]
    )  # (seeds, configurations, epochs)
    seen = 100 * curves[:, :, -1]
    final = seen.mean(0)
    results: dict[str, Any] = {}
    for name, search in searches():
        began, count = time.perf_counter(), options.searches // (5 if name == "bayesian" else 1)
        results[name] = {"searches": count}
        for share in SHARES:
            picked = [
                search(curves[number % table.SEEDS], round(share * GRID_EPOCHS), number) for number in range(count)
            ]
            short = final.max() - final[picked]
            own = np.array(
                [
                    seen[number % table.SEEDS].max() - seen[number % table.SEEDS, row]
                    for number, row in enumerate(picked)
                ]
            )
            results[name][f"{share:.0%}"] = {
                "mean_points_short": float(own.mean()),
                "within_half_a_point": float(np.mean(own <= 0.5)),
                "mean_points_short_of_both_seeds": float(short.mean()),
                "within_half_a_point_of_both_seeds": float(np.mean(short <= 0.5)),
            }
        results[name]["seconds"] = time.perf_counter() - began
        print(name, {share: {key: round(value, 3) for key, value in row.items()} for share, row in results[name].items() if "%" in share}, f"{results[name]['seconds']:.0f} s", flush=True)  # fmt: skip
    ranked = np.sort(final)[::-1]
    harness.record(
        "tuning_simulation",
        {
            "searches": options.searches,
            "grid_epochs": GRID_EPOCHS,
            "best_of_the_grid": float(ranked[0]),
            "within_half_a_point_of_it": int((ranked >= ranked[0] - 0.5).sum()),
            "seeds_differ_by_points": float(np.abs(np.diff(100 * curves[:, :, -1], axis=0)).mean()),
            "results": results,
        },
    )
