"""`tuner.search(...)`, as keras-tuner's users know it, with trials in processes of their own."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import keras
import keras_tuner
from keras_tuner.engine import trial as trial_module
from keras_tuner.src.distribute import utils as dist_utils
from keras_tuner.src.engine import tuner_utils

from vit_keras.data import ImageData
from vit_keras.errors import InvalidArgumentError, NoCompletedTrialError, StorageError
from vit_keras.runtime.signals import Interruption
from vit_keras.training.runs.directory import RunDirectory
from vit_keras.training.runs.lock import RunLock
from vit_keras.tuning.oracle import EPOCHS, INITIAL_EPOCH, REASON, ViTOracle
from vit_keras.tuning.space.candidates import HypermodelCandidates
from vit_keras.tuning.space.searchable import Searchable
from vit_keras.tuning.strategy.budget import Budget
from vit_keras.tuning.strategy.halving import Halving, rungs
from vit_keras.tuning.strategy.policy import Policy
from vit_keras.tuning.strategy.sampling import Sampler
from vit_keras.tuning.study.journal import Journal
from vit_keras.tuning.study.study import Objective, Study, Trial
from vit_keras.tuning.workers import distribution
from vit_keras.tuning.workers.shipping import Parcel, pack
from vit_keras.tuning.workers.trial_training import own_model_file
from vit_keras.tuning.workers.worker import TrialLimits, Worker
from vit_keras.zoo.from_preset import from_preset

JOURNAL, LATENCIES = "journal.jsonl", "latencies.jsonl"
COSTS = ("params", "macs", "latency")
"""Objectives that are known before training, less is better."""
_IDLE_SECONDS = 0.1
_Status = trial_module.TrialStatus


@dataclass(frozen=True, kw_only=True)
class TunerOptions:
    """How a search goes about it; the defaults suit most.

    Args:
        epochs: The full horizon of a trial.
        first_rung: Epochs after which trials are compared first.
        factor: Of how many trials at a rung one is promoted.
        workers: Processes that train side by side on this machine.
        seed: Decides proposals, weights and order.
        trial_limits: What one trial may take.
        warm_start: Run directories of earlier searches whose best trials are tried first.
    """

    epochs: int = 8
    first_rung: int = 1
    factor: float = 2.0
    workers: int = 1
    seed: int = 0
    trial_limits: TrialLimits = field(default_factory=TrialLimits)
    warm_start: Sequence[str | Path] = ()

    def __post_init__(self) -> None:
        for name in ("epochs", "first_rung", "workers"):
            if type(getattr(self, name)) is not int or getattr(self, name) < 1:
                raise InvalidArgumentError(f"{name}={getattr(self, name)!r} is not a positive whole number.")
        if type(self.seed) is not int or self.seed < 0:
            raise InvalidArgumentError(f"seed={self.seed!r} is not a whole number from 0 up.")
        rungs(self.epochs, first=self.first_rung, factor=self.factor)


_NEVER_CALLED = ("on_epoch_begin", "on_epoch_end", "on_batch_begin", "on_batch_end", "save_model")
"""Methods of keras-tuner's tuners that a trial in another process can't call."""


class ViTTuner(keras_tuner.Tuner):
    """Searches the space of a hypermodel within a budget; killed at any moment, it goes on where it was.

    Everything is in its run directory: `journal.jsonl`, the truth, and a folder a trial. An existing search there is gone on with,
    or looked at: `get_best_models` and `results_summary` work without `search`.

    A subclass may have its own `run_trial`, and a hypermodel its own `build` and `fit`, as for keras-tuner's own tuners. Where a
    hypermodel has one, each rung of a trial is trained from its start.

    Args:
        hypermodel: `ViTHyperModel` or `FinetuningHyperModel`, or a subclass that is defined in a module.
        run_dir: Where everything is kept; made where it does not exist.
        budget: A time such as "30min", "40 trials", or "200 epochs".
        objective: "val_accuracy", "val_loss", or any metric that training logs; a list of these and of `COSTS` for a Pareto front.
        options: Everything else.
        on_event: Told each record of the journal as it is written.
        told: What a command line was told, kept in the journal.

    Raises:
        InvalidArgumentError: The budget or the objective is none, or a subclass has a method that would never be called.
        StorageError: There is something else in the run directory.
        CorruptFileError: The journal that is there is damaged.
    """

    def __init__(
        self,
        hypermodel: Searchable,
        *,
        run_dir: str | Path,
        budget: str | Budget = "30min",
        objective: str | Sequence[str] = "val_accuracy",
        options: TunerOptions | None = None,
        on_event: Callable[[Mapping[str, Any]], object] = lambda record: None,
        told: Mapping[str, Any] | None = None,
    ) -> None:
        _check_called(type(self), hypermodel)
        self.told = told
        self.options = options or TunerOptions()
        self.run_dir = Path(run_dir)
        decides = not dist_utils.has_chief_oracle() or dist_utils.is_chief_oracle()
        if decides:
            check_directory(self.run_dir)
        self.objectives = objectives_of(objective)
        self.journal = Journal(self.run_dir / JOURNAL)
        self.study = Study(self.objectives, epochs=self.options.epochs, records=self.journal.records)
        if decides:
            hypermodel.latencies.keep_in(Journal(self.run_dir / LATENCIES))
        chosen = rungs(self.options.epochs, first=self.options.first_rung, factor=self.options.factor)
        candidates = HypermodelCandidates(
            hypermodel,
            warm=warm_values(self.options.warm_start, self.objectives),
            latency=any(each.name == "latency" for each in self.objectives),
        )
        policy = Policy(
            Halving(chosen, self.options.factor), Sampler(candidates, seed=self.options.seed), Budget.of(budget)
        )
        oracle = ViTOracle(policy, self.study, self.journal, costs=candidates.costs, on_event=on_event)
        super().__init__(oracle, hypermodel, directory=str(self.run_dir.parent), project_name=self.run_dir.name)
        self.engine = oracle
        self._trouble: list[BaseException] = []
        self._own = threading.local()
        """The worker of a thread, and how many epochs of its trial it reported."""

    def _populate_initial_space(self) -> None:
        """Declares the space; nothing is built for that."""
        space = self.oracle.get_space()
        self.hypermodel.declare_hyperparameters(space)
        self.oracle.update_space(space)

    def search(self, train: Any, validation_data: Any = None, *, verbose: Any = "auto") -> None:
        """Tries configurations until the budget is spent; the best reaches the full horizon before.

        Args:
            train: `ImageData`, or what `vk.data.load` takes: a folder, a data set's name, arrays, a `tf.data.Dataset`.
            validation_data: Likewise; None where `train` has a validation split, else a part of it is held out.
            verbose: As keras-tuner has it; who watches listens to `on_event`.

        Raises:
            ResumeError: The search that is there was begun with another space, other data or another objective.
            InvalidArgumentError: Training does not log the objective; nothing was trained.
            NoCompletedTrialError: Every trial failed, the first for the reason given.
            KeyboardInterrupt: Ctrl-C or SIGTERM; the steps were finished and saved.
        """
        data = self.hypermodel.data_of(train, validation_data)
        self.run_dir.mkdir(parents=True, exist_ok=True)
        if dist_utils.is_chief_oracle():
            with RunLock(self.run_dir):
                self._begin(data)
                with Interruption(on_first=self._close) as interruption:
                    distribution.serve(self.engine, lease=distribution.LEASE_SECONDS)
                self._end(interruption)
            return
        with ExitStack() as stack:
            if not self._is_worker():
                stack.enter_context(RunLock(self.run_dir))
            workers = stack.enter_context(self._workers(data))
            if self._is_worker():
                self.oracle = distribution.client_of(self.engine)
            else:
                self._begin(data, workers[0])
            interruption = stack.enter_context(Interruption(on_first=lambda: self._stop(workers)))
            self.on_search_begin()
            self._work_together(workers, data)
            self._end(interruption)
            self.on_search_end()

    @contextmanager
    def _workers(self, data: ImageData) -> Iterator[list[Worker]]:
        """Makes this machine's workers, and ends their processes."""
        with TemporaryDirectory(prefix="vit_keras_") as folder, ExitStack() as stack:
            parcel = Parcel(hypermodel=self.hypermodel, data=data, epochs=self.options.epochs, seed=self.options.seed)
            pack(parcel, Path(folder))
            workers = [
                Worker(Path(folder), self.run_dir / f"{self.tuner_id}-{number}.log", limits=self.options.trial_limits)
                for number in range(self.options.workers)
            ]
            for worker in workers:
                stack.callback(worker.close)
            yield workers

    def _begin(self, data: ImageData, worker: Worker | None = None) -> None:
        """Checks what can be before anything is trained, and takes back what an interrupted search left."""
        fingerprint = self._fingerprint(data)
        if worker is not None and not self.journal.records:
            self._check_logged(worker)
        self.journal.check_fingerprint(fingerprint, told=self.told)
        self.engine.reopen()

    def _end(self, interruption: Interruption) -> None:
        if interruption.asked:
            raise KeyboardInterrupt
        if not self._is_worker():
            self.engine.finish()
            if self.study.best is None:
                raise self._none_completed()

    def _close(self) -> None:
        self.engine.closing = True

    def _stop(self, workers: Sequence[Worker]) -> None:
        """Has every worker finish its step and save, and begins nothing more."""
        self._close()
        for worker in workers:
            worker.interrupt()

    def _check_logged(self, worker: Worker) -> None:
        """Refuses an objective that no epoch would bring, before anything is trained; what own code logs shows when it does."""
        if type(self).run_trial is not ViTTuner.run_trial:
            return
        outcome = worker.logged(self.hypermodel.default_values())
        if outcome.state != "DONE":
            raise InvalidArgumentError(f"The space's default configuration can't be trained: {outcome.reason}")
        if outcome.value is None:
            return
        absent = [each.name for each in self.objectives if each.name not in (*outcome.value, *COSTS)]
        if absent:
            raise InvalidArgumentError(
                f"objective: training does not log {', '.join(absent)}; it logs {', '.join(outcome.value)}, and "
                f"{', '.join(COSTS)} are known of every configuration."
            )

    def _fingerprint(self, data: ImageData) -> dict[str, Any]:
        """Returns what a search must have in common with what it goes on from."""
        return {
            **self.hypermodel.fingerprint(),
            "data": data.fingerprint,
            "objectives": [[each.name, each.direction] for each in self.objectives],
            "epochs": self.options.epochs,
            "rungs": list(self.engine.policy.halving.rungs),
            "factor": self.options.factor,
            "seed": self.options.seed,
            "backend": keras.backend.backend(),
        }

    def _work_together(self, workers: Sequence[Worker], data: ImageData) -> None:
        """Has every worker train until nothing is left to do; an error of one ends all."""
        threads = [
            threading.Thread(target=self._work, args=(f"{self.tuner_id}-{number}", worker, data), daemon=True)
            for number, worker in enumerate(workers)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():  # a join without end would not hear Ctrl-C
                thread.join(0.2)
        if self._trouble:
            raise self._trouble[0]

    def _work(self, tuner_id: str, worker: Worker, data: ImageData) -> None:
        self._own.worker = worker
        try:
            while True:
                trial = self.oracle.create_trial(tuner_id)
                if trial.status == _Status.STOPPED:
                    return
                if trial.status == _Status.IDLE:
                    threading.Event().wait(_IDLE_SECONDS)
                    continue
                self.on_trial_begin(trial)
                self._train(trial, data)
                self.on_trial_end(trial)
        except BaseException as error:
            self._trouble.append(error)
            self._close()

    def run_trial(self, trial: Any, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Trains a trial in the thread's worker process to the epoch its values say, and returns the last epoch's metrics.

        A subclass may do something else: train by itself to `trial.hyperparameters.values["tuner/epochs"]` and return what keras-tuner's
        own `run_trial` may return, or change values and call this.

        Args:
            trial: A trial of keras-tuner.
            *args: The data, as `search` got them.
            **kwargs: None: whatever is said of `fit` would have no effect.

        Raises:
            InvalidArgumentError: There are arguments that would have no effect.
            FailedTrialError: The trial failed; its message begins with the state.
        """
        if kwargs or len(args) > 1:
            raise InvalidArgumentError(
                f"run_trial of {type(self).__name__} got {', '.join(kwargs) or 'more than the data'}, which can have no effect: the hypermodel's "
                "`fit` decides how a trial is trained, its space with which batch size, and TunerOptions for how many epochs."
            )
        found: dict[str, float] = {}

        def on_epoch(epochs: int, metrics: dict[str, float], seconds: float) -> bool:
            found.update(metrics)
            self._own.reported = epochs
            seen = self.oracle.update_trial(trial.trial_id, {**metrics, "seconds": seconds}, step=epochs)
            return bool(seen.status == _Status.RUNNING)

        values = {name: value for name, value in trial.hyperparameters.values.items() if not name.startswith("tuner/")}
        outcome = self._own.worker.train(
            values,
            epochs=trial.hyperparameters.values[EPOCHS],
            folder=self.folder(int(trial.trial_id)),
            on_epoch=on_epoch,
        )
        self._own.reported = max(self._own.reported, 1)
        if outcome.state not in ("DONE", "STOPPED"):
            raise keras_tuner.errors.FailedTrialError(f"{outcome.state}: {outcome.reason}")
        return found

    def _train(self, trial: Any, data: ImageData) -> None:
        """Has a trial trained to where it is told, and notes whether it was."""
        alive = distribution.heartbeat(self.oracle, trial.trial_id) if self._is_worker() else nullcontext()
        self._own.reported, began = 0, time.monotonic()
        values = dict(trial.hyperparameters.values)
        try:
            with alive:
                results = self.run_trial(trial, data)
            if not self._own.reported:
                self._report(trial, results, seconds=time.monotonic() - began)
            trial.status = _Status.COMPLETED
        except (keras_tuner.errors.FatalError, InvalidArgumentError):
            raise
        except Exception as error:
            trial.status = _Status.FAILED
            failed = isinstance(error, keras_tuner.errors.FailedTrialError)
            trial.hyperparameters.values = {
                **values,
                REASON: str(error) if failed else f"FAILED: {type(error).__name__}: {error}",
            }

    def on_trial_end(self, trial: Any) -> None:
        """Hands on how a trial was left; a subclass calls this, too.

        Args:
            trial: A trial of keras-tuner.
        """
        self.oracle.end_trial(trial)

    def _report(self, trial: Any, results: Any, *, seconds: float) -> None:
        """Reports what an own `run_trial` returned, as keras-tuner understands it, for every epoch it was told to train."""
        objective = self.oracle.objective
        tuner_utils.validate_trial_results(results, objective, f"{type(self).__name__}.run_trial")
        metrics = tuner_utils.convert_to_metrics_dict(results, objective)
        first, last = (trial.hyperparameters.values[name] for name in (INITIAL_EPOCH, EPOCHS))
        for epoch in range(first + 1, last + 1):
            share = {"seconds": seconds / (last - first)}
            self.oracle.update_trial(trial.trial_id, {**metrics, **share}, step=epoch)

    def _none_completed(self) -> NoCompletedTrialError:
        failed = [trial for trial in self.study.trials if trial.reason]
        reason = f"trial {failed[0].number} was {failed[0].state}: {failed[0].reason}" if failed else "none was begun"
        return NoCompletedTrialError(
            f"{self.run_dir}: none of {len(self.study.trials)} trials completed; {reason}. Its folder and the workers' logs say more."
        )

    def folder(self, number: int) -> Path:
        """Returns what is a trial's: its checkpoints, its metrics, and its model once it completed.

        Args:
            number: Of the trial.
        """
        return self.run_dir / "trials" / f"{number:04d}"

    def best(self) -> Trial:
        """Returns the best trial that completed.

        Raises:
            NoCompletedTrialError: None did.
        """
        best = self.study.best
        if best is None:
            raise self._none_completed()
        return best

    def load_model(self, trial: Any) -> keras.Model:
        """Returns a trial's model as it was at the full horizon.

        Args:
            trial: A trial of keras-tuner.

        Raises:
            NoCompletedTrialError: It was stopped before.
        """
        folder = self.folder(int(trial.trial_id)) / "model"
        own = own_model_file(RunDirectory(folder.parent))
        if own.is_file():
            return keras.saving.load_model(own)
        if not folder.is_dir():
            if self.study.trials[int(trial.trial_id)].state == "COMPLETED":
                raise NoCompletedTrialError(
                    f"{folder.parent}: {type(self).__name__}.run_trial left no model; `save_preset(model, tuner.folder(number) / 'model')` does."
                )
            raise NoCompletedTrialError(
                f"Trial {trial.trial_id} was stopped at epoch {self.study.trials[int(trial.trial_id)].epochs} and left no model; "
                f"{sum(each.state == 'COMPLETED' for each in self.study.trials)} trials completed."
            )
        return from_preset(folder)

    def save(self) -> None:
        """Nothing: the journal has everything."""

    def reload(self) -> None:
        """Nothing: the journal was read."""


def _check_called(tuner: type[ViTTuner], hypermodel: Any) -> None:
    """Refuses what a search would never call."""
    never = [name for name in _NEVER_CALLED if getattr(tuner, name) is not getattr(ViTTuner, name)]
    if never:
        raise InvalidArgumentError(
            f"{tuner.__name__}.{', '.join(never)} would never be called: trials are trained in processes of their own. Give `on_event=` for "
            "what happens, or do it in `run_trial` or the hypermodel's `fit`."
        )
    if not isinstance(hypermodel, Searchable):
        raise InvalidArgumentError(
            f"{hypermodel!r:.100} is no ViTHyperModel or FinetuningHyperModel; keras-tuner's own tuners take any hypermodel."
        )


def objectives_of(names: str | Sequence[str]) -> list[Objective]:
    """Returns objectives with their directions.

    Args:
        names: One or several.

    Raises:
        InvalidArgumentError: Which way one is better can't be known.

    Example:
        >>> objectives_of(["val_accuracy", "params"])
        [Objective(name='val_accuracy', direction='max'), Objective(name='params', direction='min')]
    """
    listed = [names] if isinstance(names, str) else list(names)
    if not listed or len(set(listed)) != len(listed) or listed[0] in COSTS:
        raise InvalidArgumentError(
            f"objective={names!r}: expected a metric that training logs, such as 'val_accuracy', and where several are looked for it "
            f"first, then others and any of {', '.join(COSTS)}."
        )
    directions = {name: "min" if name in COSTS or name.endswith("loss") else "max" for name in listed}
    unknown = [name for name in listed if not name.endswith(("accuracy", "loss", "precision", "recall", "auc", *COSTS))]
    if unknown:
        raise InvalidArgumentError(
            f"objective: whether more or less of {', '.join(unknown)} is better can't be known; name a metric that ends in accuracy, "
            "auc, precision, recall or loss."
        )
    return [Objective(name, direction) for name, direction in directions.items()]


def warm_values(
    directories: Sequence[str | Path], objectives: Sequence[Objective], *, most: int = 5
) -> list[dict[str, Any]]:
    """Returns the values of the best trials of earlier searches.

    Args:
        directories: Their run directories.
        objectives: What is looked for now.
        most: Of each search.

    Raises:
        StorageError: One is no search.
    """
    found = []
    for directory in map(Path, directories):
        path = directory / JOURNAL
        if not path.is_file():
            raise StorageError(f"{directory}: there is no search to start from, for it has no {JOURNAL}.")
        records = Journal(path).records
        epochs = max((record["epochs"] for record in records if record["what"] == "started"), default=1)
        found += [trial.values for trial in Study(objectives, epochs=epochs, records=records).ranked()[:most]]
    return found


def check_directory(path: Path) -> None:
    """Raises `StorageError` where a folder has something else than a search in it.

    Args:
        path: A run directory, or what is going to be one.
    """
    ours = (".lock", ".log", LATENCIES)  # all there is of a search that was killed before its first record
    if (
        path.is_dir()
        and not (path / JOURNAL).is_file()
        and any(not each.name.endswith(ours) for each in path.iterdir())
    ):
        raise StorageError(
            f"{path} has something in it that is no search, and nothing is removed or overwritten: choose another run directory."
        )
    if path.exists() and not path.is_dir():
        raise StorageError(f"{path} is a file; a run directory is a folder.")
