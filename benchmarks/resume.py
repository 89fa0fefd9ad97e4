"""Compares a training run that is killed at random moments and resumed with an uninterrupted one.

    python benchmarks/resume.py [--kills 20] [--backend tensorflow|jax]

Augmentation, MixUp, dropout, stochastic depth, gradient accumulation, weight averaging and early stopping are on. A checkpoint is written
after every step, so SIGKILL hits steps, writes and the time between epochs. Both runs must agree bit for bit: weights, optimizer, seeds,
metrics, states of the callbacks, and the history except for its seconds.
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

import numpy as np

EPOCHS, STEPS, BATCH = 10, 8, 32


def child(folder: Path, *, resume: bool, pause: float) -> None:
    """Trains in `folder` to the end, and writes the final model to `final.npz`."""
    import keras
    from rich.console import Console

    import vit_keras as vk
    from vit_keras.training.checkpoints.state import get_arrays
    from vit_keras.training.recipes import finetune
    from vit_keras.training.runs.directory import RunDirectory
    from vit_keras.training.runs.fitting import Fitting

    class Pause(keras.callbacks.Callback):
        """Reports the first step, and slows training so that kills also hit the time between steps."""

        said = False

        def get_state(self) -> dict[str, Any]:
            """Returns nothing: a resumed run reports its first step, too."""
            return {}

        def set_state(self, state: dict[str, Any]) -> None:
            """Does nothing."""

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if not self.said:
                print("training", flush=True)
            self.said = True
            time.sleep(pause)

    data = vk.data.load("emoji", batch_size=BATCH, limit=STEPS * BATCH, seed=3)
    keras.utils.set_random_seed(3)
    config = vk.ViTConfig(
        image_size=32,
        patch_size=8,
        hidden_dim=32,
        num_layers=2,
        num_heads=2,
        mlp_dim=64,
        dropout_rate=0.1,
        attention_dropout_rate=0.1,
        stochastic_depth_rate=0.1,
    )
    recipe = finetune.unsized(
        epochs=EPOCHS,
        steps_per_epoch=STEPS,
        accumulation=2,
        average_decay=0.9,
        patience=4,
        augmentation=vk.data.Augmentation(flip_rate=0.5, shift=0.1, rotation=10, mixup_alpha=0.2),
    )
    model = vk.vit(config, num_classes=len(data.class_names))
    model.compile(**recipe.compile_kwargs())
    plateau = keras.callbacks.EarlyStopping("val_loss", patience=5, restore_best_weights=True)  # a callback of Keras'
    run = RunDirectory(folder / "run")
    run.path.mkdir(exist_ok=True)
    fitting = Fitting(
        model=model,
        data=data,
        recipe=recipe,
        run=run,
        console=Console(quiet=True),
        callbacks=[plateau, Pause()],
        checkpoint_seconds=0.0,
    )
    fitting.fit(resume=resume)
    np.savez(folder / "final.npz", **get_arrays(model))


def start(folder: Path, backend: str, *, resume: bool, pause: float) -> "subprocess.Popen[str]":
    """Starts a child process and returns it once it has trained a step or has ended."""
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [
        sys.executable,
        __file__,
        "--child",
        str(folder),
        "--pause",
        str(pause),
        *(["--resume"] if resume else []),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    if process.stdout is None:
        raise RuntimeError("the child has no output")
    with process.stdout:
        trained = process.stdout.readline().strip() == "training"
    if not trained and process.wait() != 0:
        raise RuntimeError(f"the child ended with {process.returncode}")
    return process


def differences(one: Path, other: Path) -> list[str]:
    """Returns the differences between the last checkpoints and the final models of two runs."""
    from vit_keras.training.checkpoints.store import CheckpointStore

    found = []
    with np.load(one / "final.npz") as ours, np.load(other / "final.npz") as theirs:
        found += _different({name: ours[name] for name in ours}, {name: theirs[name] for name in theirs})
    last = [CheckpointStore(folder / "run" / "checkpoints").newest() for folder in (one, other)]
    if last[0] is None or last[1] is None:
        return [*found, "a run without a checkpoint"]
    found += _different(last[0].tensors, last[1].tensors)
    states = [json.dumps(_without_seconds(each.state)) for each in last if each is not None]
    return found + (["the states of the callbacks"] if states[0] != states[1] else [])


def _different(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> list[str]:
    names = sorted(ours.keys() | theirs.keys())
    return [
        name
        for name in names
        if name not in ours or name not in theirs or ours[name].tobytes() != theirs[name].tobytes()
    ]


def _without_seconds(value: Any) -> Any:
    if isinstance(value, dict) and "items" in value:
        return {"items": [[key, _without_seconds(item)] for key, item in value["items"] if key != "seconds"]}
    if isinstance(value, dict):
        return {key: _without_seconds(item) for key, item in value.items()}
    return [_without_seconds(item) for item in value] if isinstance(value, list) else value


def measure(kills: int, backend: str, *, seed: int = 0, pause: float = 0.05) -> dict[str, Any]:
    """Runs once uninterrupted and once killed `kills` times, and returns the differences."""
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        whole, killed = Path(folder) / "whole", Path(folder) / "killed"
        for each in (whole, killed):
            each.mkdir()
        process = start(whole, backend, resume=False, pause=pause)
        began = time.monotonic()
        if process.wait() != 0:
            raise RuntimeError("the undisturbed run failed")
        seconds = time.monotonic() - began
        moments, resumed_from, done = [], [], 0
        while done < kills:
            process = start(killed, backend, resume=done > 0, pause=pause)
            wait = float(rng.uniform(0, 1.5)) * seconds / kills  # in total about the time of one run
            try:
                process.wait(timeout=wait)
                if process.returncode != 0:
                    raise RuntimeError(f"a resumed run failed with {process.returncode}")
                for path in sorted((killed / "run").rglob("*"), reverse=True):  # it finished: start over
                    path.unlink() if path.is_file() else path.rmdir()
                (killed / "run").rmdir()
                continue
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                done += 1
            steps = sorted((killed / "run" / "checkpoints").glob("step-*"))
            moments.append(round(wait, 3))
            resumed_from.append(steps[-1].name if steps else "the start")
        process = start(killed, backend, resume=True, pause=0.0)
        if process.wait() != 0:
            raise RuntimeError("the last resumed run failed")
        return {
            "backend": backend,
            "kills": kills,
            "seconds_of_the_whole_run": round(seconds, 1),
            "killed_after_seconds": moments,
            "newest_checkpoint_after_each": resumed_from,
            "different": differences(whole, killed),
        }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--backend", choices=["tensorflow", "jax"], action="append")
    parser.add_argument("--child", type=Path)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--pause", type=float, default=0.0)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.child, resume=arguments.resume, pause=arguments.pause)
    else:
        import harness

        results = []
        for backend in arguments.backend or ["tensorflow", "jax"]:
            results.append(measure(arguments.kills, backend))
            harness.record("resume", {"runs": results})
        sys.exit(any(result["different"] for result in results))
