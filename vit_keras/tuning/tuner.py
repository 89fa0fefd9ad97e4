"""`ViTTuner`: a `keras_tuner.Tuner` whose trials are trained in worker processes."""

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import keras
import keras_tuner
from keras_tuner.src.engine import tuner_utils

from vit_keras.data import ImageData
from vit_keras.errors import InvalidArgumentError, NoCompletedTrialError, StorageError
from vit_keras.runtime.signals import Interruption
from vit_keras.training.run_config import write_run_config
from vit_keras.training.runs.directory import RunDirectory
from vit_keras.training.runs.lock import RunLock
from vit_keras.tuning.coordinator import Coordinator
from vit_keras.tuning.options import TunerOptions
from vit_keras.tuning.oracle import EPOCHS, INITIAL_EPOCH, TrialStatus, ViTOracle
from vit_keras.tuning.space.searchable import Searchable
from vit_keras.tuning.strategy.budget import Budget
from vit_keras.tuning.strategy.candidates import HypermodelCandidates
from vit_keras.tuning.strategy.halving import Halving, make_rungs
from vit_keras.tuning.strategy.policy import Policy
from vit_keras.tuning.strategy.sampling import Sampler
from vit_keras.tuning.study.journal import Journal
from vit_keras.tuning.study.objectives import COSTS, parse_objectives
from vit_keras.tuning.study.run_directory import JOURNAL, LATENCIES, check_run_directory, load_warm_start
from vit_keras.tuning.study.study import Study, Trial
from vit_keras.tuning.workers.payload import pack
from vit_keras.tuning.workers.trial_training import custom_model_file
from vit_keras.tuning.workers.worker import Worker
from vit_keras.version import __version__
from vit_keras.zoo.from_preset import from_preset

_IDLE_SECONDS = 0.2
_CHIEF = "KERASTUNER_ORACLE_IP"  # makes keras-tuner's own tuners use a chief
_NEVER_CALLED = ("on_epoch_begin", "on_epoch_end", "on_batch_begin", "on_batch_end", "save_model")
"""Methods of keras-tuner's tuners that a trial in another process cannot call."""


class ViTTuner(keras_tuner.Tuner):
    """Searches the space of a hypermodel within a budget; a killed search resumes where it was.

    The run directory holds everything: `journal.jsonl` and one folder per trial. If there is a search in it, that is resumed, or joined
    if other processes still run it, on this machine or others; `get_best_models` and `results_summary` work without `search`.

    A subclass may have its own `run_trial`, and a hypermodel its own `build` and `fit`, as for keras-tuner's own tuners. With these,
    each rung of a trial is trained from its start.

    Args:
        hypermodel: `ViTHyperModel`, `FinetuningHyperModel`, or a subclass that is defined in a module.
        run_dir: Directory of the search; created if it does not exist.
        budget: A time such as "30min", "40 trials", or "200 epochs"; None for that of the search in the run directory.
        objective: "val_accuracy", "val_loss", or any metric that training logs; with a list of these and of "params", "macs" and
            "latency", the search explores the Pareto front.
        options: Everything else.
        on_event: Called with each record of the journal after it is written.

    Raises:
        InvalidArgumentError: The budget or the objective is not valid, a subclass has a method that would never be called, or the
            environment names a chief of keras-tuner.
        StorageError: The run directory holds something else.
        CorruptFileError: Its journal is damaged.
    """

    def __init__(
        self,
        hypermodel: Searchable,
        *,
        run_dir: str | Path,
        budget: str | Budget | None = "30min",
        objective: str | Sequence[str] = "val_accuracy",
        options: TunerOptions | None = None,
        on_event: Callable[[Mapping[str, Any]], object] = lambda record: None,
    ) -> None:
        _check_overrides(type(self), hypermodel)
        self.options = options or TunerOptions()
        self.run_dir = Path(run_dir)
        self.cli_options: Mapping[str, Any] = {}
        """Options of the command line, written to a new journal."""
        self.starts_search = False
        """Whether a search that is in the run directory already is refused."""
        check_run_directory(self.run_dir)
        self.objectives = parse_objectives(objective)
        self.journal = Journal(self.run_dir / JOURNAL)
        self.study = Study(self.objectives, epochs=self.options.epochs, records=self.journal.records)
        hypermodel.latencies.store_in(Journal(self.run_dir / LATENCIES))
        rungs = make_rungs(self.options.epochs, first=self.options.first_rung, factor=self.options.factor)
        candidates = HypermodelCandidates(
            hypermodel,
            warm=load_warm_start(self.options.warm_start, self.objectives),
            latency=any(each.name == "latency" for each in self.objectives),
        )
        sampler = Sampler(candidates, seed=self.options.seed)
        self._budget = None if budget is None else Budget.parse(budget)
        recorded = Budget.parse(self.study.budget or str(self.journal.cli_options.get("budget", "30min")))
        policy = Policy(Halving(rungs, self.options.factor), sampler, self._budget or recorded)
        self.coordinator = Coordinator(
            policy, self.study, self.journal, compute_costs=candidates.compute_costs, on_event=on_event
        )
        super().__init__(
            ViTOracle(self.coordinator), hypermodel, directory=str(self.run_dir.parent), project_name=self.run_dir.name
        )
        self.tuner_id = self.coordinator.name
        self._errors: list[BaseException] = []
        self._thread = threading.local()
        """The worker of a thread, and how many epochs of its trial it has reported."""

    def _populate_initial_space(self) -> None:
        """Declares the space without building a model, unlike keras-tuner's."""
        space = self.oracle.get_space()
        self.hypermodel.declare_hyperparameters(space)
        self.oracle.update_space(space)

    def search(self, train: Any, validation_data: Any = None, *, verbose: Any = "auto") -> None:
        """Tries configurations until the budget is spent; the best one is trained to the full horizon in time.

        Args:
            train: `ImageData`, or what `vk.data.load` takes: a folder, a data set's name, arrays, a `tf.data.Dataset`.
            validation_data: Likewise; None if `train` has a validation split, otherwise a part of it is held out.
            verbose: Ignored, for compatibility with keras-tuner; use `on_event`.

        Raises:
            ResumeError: The search in the run directory has another space, other data or another objective.
            InvalidArgumentError: Training does not log the objective; nothing was trained.
            NoCompletedTrialError: Every trial failed; the message has the first reason.
            KeyboardInterrupt: Ctrl-C or SIGTERM; the current steps were finished and saved.
        """
        data = self.hypermodel.load_data(train, validation_data)
        self.run_dir.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            stack.enter_context(RunLock(self.run_dir, shared=True))
            workers = stack.enter_context(self._make_workers(data))
            self._open(data, workers[0])
            membership = self.coordinator.join(
                workers=self.options.workers,
                versions=_list_versions(),
                budget=self._budget,
                resume=self._budget is not None,
            )
            stack.enter_context(membership)
            for worker in workers:  # before this process leaves, and others take its trials
                stack.callback(worker.close)
            interruption = stack.enter_context(Interruption(on_first=lambda: self._stop(workers)))
            self.on_search_begin()
            self._run_workers(workers, data)
            if interruption.asked:
                raise KeyboardInterrupt
            self.oracle.update_views()
            self.best_trial()
            self.on_search_end()

    @contextmanager
    def _make_workers(self, data: ImageData) -> Iterator[list[Worker]]:
        with TemporaryDirectory(prefix="vit_keras_") as name, ExitStack() as stack:
            folder, logs = Path(name), self.coordinator.folder
            pack(self.hypermodel, data, folder, epochs=self.options.epochs, seed=self.options.seed)
            logs.mkdir(exist_ok=True)
            workers = [
                Worker(
                    folder,
                    logs / f"{self.tuner_id}-{number}.log",
                    limits=self.options.trial_limits,
                    heartbeat=self.coordinator.heartbeat_file,
                )
                for number in range(self.options.workers)
            ]
            for worker in workers:
                stack.callback(worker.close)
            yield workers

    def _open(self, data: ImageData, worker: Worker) -> None:
        """Checks everything that can be checked before training."""
        fingerprint = {
            **self.hypermodel.fingerprint(),
            "data": data.fingerprint,
            "objectives": [[each.name, each.direction] for each in self.objectives],
            "epochs": self.options.epochs,
            "rungs": list(self.coordinator.policy.halving.rungs),
            "factor": self.options.factor,
            "seed": self.options.seed,
            "backend": keras.backend.backend(),
        }
        if not self.journal.records:
            self._check_objectives_are_logged(worker)
        is_new = self.journal.check_fingerprint(fingerprint, cli_options=self.cli_options)
        if self.starts_search and not is_new:
            raise StorageError(
                f"run_dir: {self.run_dir} holds a search already, which another process started just now: choose another directory, or join it."
            )
        if is_new and self.cli_options:
            write_run_config(self.run_dir, "tune", self.cli_options)

    def _stop(self, workers: Sequence[Worker]) -> None:
        """Makes every worker finish its step and save, and starts nothing more."""
        self.coordinator.closing = True
        for worker in workers:
            worker.interrupt()

    def _check_objectives_are_logged(self, worker: Worker) -> None:
        if type(self).run_trial is not ViTTuner.run_trial:
            return  # its metrics are known only when it returns
        outcome = worker.logged_metrics(self.hypermodel.default_values())
        if outcome.state != "DONE":
            raise InvalidArgumentError(f"The space's default configuration cannot be trained: {outcome.reason}")
        if outcome.value is None:
            return
        missing = [each.name for each in self.objectives if each.name not in (*outcome.value, *COSTS)]
        if missing:
            raise InvalidArgumentError(
                f"objective: training does not log {', '.join(missing)}; it logs {', '.join(outcome.value)}, and "
                f"{', '.join(COSTS)} are known of every configuration."
            )

    def _run_workers(self, workers: Sequence[Worker], data: ImageData) -> None:
        """Runs every worker in a thread until nothing is left to do; the first error of one ends all."""
        threads = [
            threading.Thread(target=self._work, args=(f"{self.tuner_id}-{number}", worker, data), daemon=True)
            for number, worker in enumerate(workers)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():  # a join without a timeout cannot be interrupted
                thread.join(0.2)
        if self._errors:
            raise self._errors[0]

    def _work(self, tuner_id: str, worker: Worker, data: ImageData) -> None:
        self._thread.worker = worker
        try:
            while True:
                trial = self.oracle.create_trial(tuner_id, abandon=worker.close)
                if trial.status == TrialStatus.STOPPED:
                    return
                if trial.status == TrialStatus.IDLE:
                    time.sleep(_IDLE_SECONDS)
                    continue
                self.on_trial_begin(trial)
                self._train(trial, data)
                self.on_trial_end(trial)
        except BaseException as error:
            self._errors.append(error)
            self.coordinator.closing = True

    def _train(self, trial: Any, data: ImageData) -> None:
        """Calls `run_trial` and sets the trial's status."""
        self._thread.reported, began = 0, time.monotonic()
        values = dict(trial.hyperparameters.values)
        try:
            results = self.run_trial(trial, data)
            if not self._thread.reported:
                self._report(trial, results, seconds=time.monotonic() - began)
            trial.status = TrialStatus.COMPLETED
        except (keras_tuner.errors.FatalError, InvalidArgumentError):
            raise
        except Exception as error:
            is_known = isinstance(error, keras_tuner.errors.FailedTrialError)
            trial.status, trial.hyperparameters.values = TrialStatus.FAILED, values
            trial.message = str(error) if is_known else f"FAILED: {type(error).__name__}: {error}"

    def run_trial(self, trial: Any, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Trains a trial in the thread's worker process and returns the metrics of its last epoch.

        A subclass may train by itself to `trial.hyperparameters.values["tuner/epochs"]` and return what keras-tuner's own
        `run_trial` may return, or change values and call this.

        Args:
            trial: A trial of keras-tuner.
            *args: The data that `search` loaded.
            **kwargs: Refused, since options of `fit` would have no effect.

        Raises:
            InvalidArgumentError: An argument would have no effect.
            FailedTrialError: The trial failed; the message begins with its state.
        """
        if kwargs or len(args) > 1:
            raise InvalidArgumentError(
                f"run_trial of {type(self).__name__} got {', '.join(kwargs) or 'more than the data'}, which can have no effect: set the batch "
                "size in the hypermodel's space, the number of epochs in TunerOptions, and everything else in the hypermodel's `fit`."
            )
        last: dict[str, float] = {}

        def on_epoch(epochs: int, metrics: dict[str, float], seconds: float) -> bool:
            last.update(metrics)
            self._thread.reported = epochs
            answer = self.oracle.update_trial(trial.trial_id, {**metrics, "seconds": seconds}, step=epochs)
            return bool(answer.status == TrialStatus.RUNNING)

        values = {name: value for name, value in trial.hyperparameters.values.items() if not name.startswith("tuner/")}
        outcome = self._thread.worker.train(
            values,
            epochs=trial.hyperparameters.values[EPOCHS],
            folder=self.trial_directory(int(trial.trial_id)),
            on_epoch=on_epoch,
        )
        self._thread.reported = max(self._thread.reported, 1)
        if outcome.state not in ("DONE", "STOPPED"):
            raise keras_tuner.errors.FailedTrialError(f"{outcome.state}: {outcome.reason}")
        return last

    def on_trial_end(self, trial: Any) -> None:
        """Reports the end of a trial to the oracle; a subclass must call this, too."""
        self.oracle.end_trial(trial)

    def _report(self, trial: Any, results: Any, *, seconds: float) -> None:
        """Reports the results of a subclass's `run_trial` for each epoch that it was asked to train."""
        objective = self.oracle.objective
        tuner_utils.validate_trial_results(results, objective, f"{type(self).__name__}.run_trial")
        metrics = tuner_utils.convert_to_metrics_dict(results, objective)
        first, last = (trial.hyperparameters.values[name] for name in (INITIAL_EPOCH, EPOCHS))
        for epoch in range(first + 1, last + 1):
            row = {**metrics, "seconds": seconds / (last - first)}
            self.oracle.update_trial(trial.trial_id, row, step=epoch)

    def trial_directory(self, number: int) -> Path:
        """Returns the directory of a trial: its checkpoints, its metrics, and its model once it completed."""
        return self.run_dir / "trials" / f"{number:04d}"

    def best_trial(self) -> Trial:
        """Returns the best completed trial.

        Raises:
            NoCompletedTrialError: None completed.
        """
        if self.study.best is not None:
            return self.study.best
        failed = [trial for trial in self.study.trials if trial.reason]
        reason = "none was started"
        if failed:
            reason = f"trial {failed[0].number} was {failed[0].state}: {failed[0].reason.rstrip('.')}"
        raise NoCompletedTrialError(
            f"{self.run_dir}: none of {len(self.study.trials)} trials completed; {reason}. See its folder and the logs of the workers."
        )

    def load_model(self, trial: Any) -> keras.Model:
        """Returns a trial's model at the full horizon.

        Raises:
            NoCompletedTrialError: It was stopped before the horizon, or left no model.
        """
        directory = RunDirectory(self.trial_directory(int(trial.trial_id)))
        if custom_model_file(directory).is_file():
            return keras.saving.load_model(custom_model_file(directory))
        if directory.model.is_dir():
            return from_preset(directory.model)
        own = self.study.trials[int(trial.trial_id)]
        if own.state == "COMPLETED":
            raise NoCompletedTrialError(
                f"{directory.path}: {type(self).__name__}.run_trial left no model; save it there with "
                "`save_preset(model, tuner.trial_directory(number) / 'model')`."
            )
        raise NoCompletedTrialError(
            f"Trial {trial.trial_id} was stopped at epoch {own.epochs} and left no model; "
            f"{sum(each.state == 'COMPLETED' for each in self.study.trials)} other trials completed."
        )

    # keras-tuner's own persistence, which the journal replaces.

    def save(self) -> None: ...  # noqa: D102
    def reload(self) -> None: ...  # noqa: D102


def _list_versions() -> dict[str, str]:
    """Returns the versions that trials on several machines have to have in common."""
    backend = keras.backend.backend()
    return {"vit_keras": __version__, "keras": keras.__version__, backend: str(import_module(backend).__version__)}


def _check_overrides(tuner: type[ViTTuner], hypermodel: Any) -> None:
    """Refuses what a search would ignore: methods that it never calls, and a chief of keras-tuner."""
    if _CHIEF in os.environ:
        raise InvalidArgumentError(
            f"{tuner.__name__} does not use keras-tuner's chief, and {_CHIEF} is set: unset it. Other machines join the search through its "
            "run directory, with vk.tuning.join(run_dir) or vit-keras tune --join RUN_DIR."
        )
    never = [name for name in _NEVER_CALLED if getattr(tuner, name) is not getattr(ViTTuner, name)]
    if never:
        raise InvalidArgumentError(
            f"{tuner.__name__}.{', '.join(never)} would never be called, because trials are trained in worker processes. Pass `on_event=` "
            "instead, or do it in `run_trial` or in the hypermodel's `fit`."
        )
    if not isinstance(hypermodel, Searchable):
        raise InvalidArgumentError(
            f"{hypermodel!r:.100} is not a ViTHyperModel or FinetuningHyperModel; for other hypermodels use keras-tuner's own tuners."
        )
