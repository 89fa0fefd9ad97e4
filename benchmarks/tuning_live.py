"""A search with a time budget compared with Optuna in the same space, and with the demo's preset: emoji at 32 px.

    python benchmarks/tuning_live.py [--minutes 15] [--max-params 1000000] [--epochs 8] [--seed 0]

Both searches choose depth, heads and the rest within the same parameter limit, train each trial with the same recipe for at most `--epochs`,
use the same validation images, and run at the same time on one core each. Optuna uses TPE with the Hyperband pruner in its own process, and
reuses compiled programs as we do. The preset, `vit_nano_conv8_32` with its own recipe, trains for as many epochs as the last rung. Needs
Optuna (otherwise that row is left out) and Linux.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import harness

IMAGE, DATA = 32, "emoji"


def ours(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Runs our search and evaluates its best model on the test images."""
    import vit_keras as vk

    began = time.monotonic()
    result = vk.tuning.search(
        vk.data.load(DATA),
        budget=f"{options.minutes * 60:g}s",
        max_params=options.max_params,
        run_dir=folder / "ours",
        options=vk.tuning.TunerOptions(epochs=options.epochs, seed=options.seed),
    )
    return {
        "seconds": time.monotonic() - began,
        "val_accuracy": result.best.curve[-1]["val_accuracy"],
        "test_accuracy": result.test_accuracy,
        "params": result.best.costs["params"],
        "trials": len(result.study.trials),
        "epochs": result.study.epochs_trained,
        "values": result.best.values,
    }


def of_optuna(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Runs Optuna's search in the same space."""
    import optuna

    import vit_keras as vk
    from vit_keras.evaluation.evaluate import evaluate
    from vit_keras.tuning.space.dimensions import Choice, IntRange
    from vit_keras.tuning.workers.trial_training import TrialTrainer

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    data = vk.data.load(DATA)
    hypermodel = vk.tuning.ViTHyperModel(IMAGE, len(data.class_names), max_params=options.max_params)
    trainer = TrialTrainer(hypermodel, data, epochs=options.epochs, seed=options.seed)
    pruner = optuna.pruners.HyperbandPruner(min_resource=1, max_resource=options.epochs, reduction_factor=2)
    study = optuna.create_study(
        direction="maximize", sampler=optuna.samplers.TPESampler(seed=options.seed), pruner=pruner
    )
    began, best, epochs = time.monotonic(), (0.0, -1), 0
    limit = options.minutes * 60
    chosen: dict[int, dict[str, Any]] = {}
    while time.monotonic() - began < limit:
        trial = study.ask()
        values: dict[str, Any] = {}
        for name, dimension in hypermodel.space.dimensions.items():
            if isinstance(dimension, Choice):
                values[name] = trial.suggest_categorical(name, list(dimension.values))
            elif isinstance(dimension, IntRange):
                values[name] = trial.suggest_int(name, dimension.low, dimension.high, step=dimension.step)
            else:
                values[name] = trial.suggest_float(name, dimension.low, dimension.high, log=dimension.log)
        fitted = chosen[trial.number] = hypermodel.make_legal(values)
        curve: list[float] = []

        def on_epoch(
            done: int, metrics: dict[str, float], seconds: float, trial: Any = trial, curve: list[float] = curve
        ) -> bool:
            curve.append(metrics["val_accuracy"])
            trial.report(curve[-1], done)
            return not trial.should_prune() and time.monotonic() - began < limit

        whole = trainer.train(fitted, until=options.epochs, folder=folder / f"optuna-{trial.number}", on_epoch=on_epoch)
        epochs += len(curve)
        state = optuna.trial.TrialState.COMPLETE if whole else optuna.trial.TrialState.PRUNED
        study.tell(trial, curve[-1] if whole else None, state=state)
        if whole and curve[-1] > best[0]:
            best = (curve[-1], trial.number)
    seconds = time.monotonic() - began
    if best[1] < 0:
        return {
            "seconds": seconds,
            "trials": len(study.trials),
            "epochs": epochs,
            "val_accuracy": None,
            "test_accuracy": None,
        }
    accuracy = evaluate(vk.from_preset(folder / f"optuna-{best[1]}" / "model"), data.splits["test"]).accuracy
    return {
        "seconds": seconds,
        "val_accuracy": best[0],
        "test_accuracy": accuracy,
        "params": hypermodel.compute_costs(chosen[best[1]])["params"],
        "trials": len(study.trials),
        "epochs": epochs,
        "values": chosen[best[1]],
    }


def fixed(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Trains the demo's preset with its own recipe for as many epochs as the last rung."""
    from vit_keras import train

    began = time.monotonic()
    run = train(None, DATA, epochs=options.epochs, seed=options.seed, run_dir=folder / "fixed")
    last = run.history[-1]
    return {
        "seconds": time.monotonic() - began,
        "val_accuracy": last["val_accuracy"],
        "test_accuracy": run.evaluation.accuracy,
        "epochs": options.epochs,
    }


WAYS = {"ours": ours, "optuna": of_optuna, "fixed": fixed}


def start(way: str, folder: Path, core: int) -> "subprocess.Popen[str]":
    """Starts one side on its own core."""
    command = [sys.executable, *sys.argv, "--way", way, "--folder", str(folder)]
    environment = {**os.environ, "TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
    return subprocess.Popen(["taskset", "-c", str(core), *command], env=environment, stdout=subprocess.PIPE, text=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--max-params", type=int, default=1_000_000)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        print(json.dumps(WAYS[options.way](options, options.folder)))
        raise SystemExit
    with tempfile.TemporaryDirectory() as name:
        found: dict[str, Any] = {}
        for together in (("ours", "optuna"), ("fixed",)):
            processes = {way: start(way, Path(name), core) for core, way in enumerate(together)}
            for way, process in processes.items():
                output, _ = process.communicate()
                if process.returncode:
                    print(f"{way}: exit code {process.returncode}, left out")
                    continue
                found[way] = json.loads(output.splitlines()[-1])
                print(way, found[way], flush=True)
    numbers = {key: getattr(options, key) for key in ("minutes", "max_params", "epochs", "seed")}
    harness.record("tuning_live", {**numbers, "results": found, "cores_each": 1})
