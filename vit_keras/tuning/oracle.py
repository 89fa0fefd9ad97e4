"""The search as a `keras_tuner.Oracle`: the coordinator decides, together with those of other processes."""

import threading
from collections.abc import Callable, Mapping

import keras_tuner
from keras_tuner.engine import trial as trial_module

from vit_keras.tuning.coordinator import Coordinator
from vit_keras.tuning.study.study import FAULTS, Trial

EPOCHS, INITIAL_EPOCH = "tuner/epochs", "tuner/initial_epoch"
"""Entries of a trial's values beside the hyperparameters, as keras-tuner's Hyperband has them."""
TrialStatus = trial_module.TrialStatus
_STATUS = dict.fromkeys(("QUEUED", "RUNNING"), TrialStatus.RUNNING)
_STATUS |= dict.fromkeys(("COMPLETED", "PRUNED"), TrialStatus.COMPLETED)


class ViTOracle(keras_tuner.Oracle):
    """Asynchronous successive halving with a model-based sampler, resumable from its journal.

    To keras-tuner a configuration is one trial, which is handed out once per rung.
    """

    def __init__(self, coordinator: Coordinator) -> None:
        study = coordinator.study
        objectives = [keras_tuner.Objective(each.name, each.direction) for each in study.objectives]
        super().__init__(
            objective=objectives[0], max_trials=coordinator.budget.trials, seed=coordinator.policy.sampler.seed or 1
        )
        self.coordinator = coordinator
        self._thread = threading.local()  # its worker; a trial that was lost may run in another thread meanwhile
        for trial in study.trials:
            self._update_view(trial)

    def create_trial(
        self, tuner_id: str, abandon: Callable[[], object] = lambda: None
    ) -> keras_tuner.engine.trial.Trial:
        """Returns what a free worker trains next; the status says IDLE or STOPPED if there is nothing.

        `abandon` is called where another process has taken the trial over.
        """
        trial = self.coordinator.claim(tuner_id, abandon=abandon)
        if isinstance(trial, str):
            status = TrialStatus.STOPPED if trial == "stop" else TrialStatus.IDLE
            return trial_module.Trial(self.hyperparameters.copy(), trial_id="none", status=status)
        view = self._update_view(trial)
        self._thread.worker = tuner_id
        self.ongoing_trials[tuner_id] = view
        if view.trial_id not in self.start_order:
            self.start_order.append(view.trial_id)
        return view

    def update_trial(
        self, trial_id: str, metrics: Mapping[str, float], step: int = 0
    ) -> keras_tuner.engine.trial.Trial:
        """Records an epoch of a trial; the returned status STOPPED ends the trial."""
        row = dict(metrics)
        seconds = round(float(row.pop("seconds", 0.0)), 3)
        number = int(trial_id)
        proceeds = self.coordinator.report(number, self._thread.worker, epoch=int(step), metrics=row, seconds=seconds)
        view = self._update_view(self.coordinator.study.trials[number])
        if proceeds:
            return view
        stopped = trial_module.Trial(view.hyperparameters, view.trial_id, TrialStatus.STOPPED)
        stopped.metrics = view.metrics
        return stopped

    def end_trial(self, trial: keras_tuner.engine.trial.Trial) -> None:
        """Records how a worker left a trial; unless it is COMPLETED, its message holds the fault and the reason."""
        own, worker = self.coordinator.study.trials[int(trial.trial_id)], self._thread.worker
        self.ongoing_trials.pop(worker, None)
        if trial.status == TrialStatus.COMPLETED:
            self.coordinator.release(own.number, worker)
        else:
            state, _, reason = (trial.message or "FAILED: no reason was given").partition(": ")
            self.coordinator.release(own.number, worker, fault=state if state in FAULTS else "FAILED", reason=reason)
        self._update_view(own)
        if own.state not in ("QUEUED", "RUNNING"):
            self.end_order.append(trial.trial_id)

    def update_views(self) -> None:
        """Updates keras-tuner's objects of all trials, also of those that other processes trained."""
        for trial in self.coordinator.study.trials:
            self._update_view(trial)

    def get_best_trials(self, num_trials: int = 1) -> list[keras_tuner.engine.trial.Trial]:
        """Returns the best trials, those trained for more epochs first, without failed ones."""
        return [self._update_view(trial) for trial in self.coordinator.study.ranking[:num_trials]]

    def _update_view(self, trial: Trial) -> keras_tuner.engine.trial.Trial:
        """Updates and returns keras-tuner's object of a trial."""
        trial_id = f"{trial.number:04d}"
        view = self.trials.get(trial_id)
        if view is None:
            hyperparameters = self.hyperparameters.copy()
            hyperparameters.values = dict(trial.values)
            view = self.trials[trial_id] = trial_module.Trial(hyperparameters, trial_id=trial_id)
        view.hyperparameters.values |= {EPOCHS: trial.target, INITIAL_EPOCH: trial.epochs}
        view.status = _STATUS.get(trial.state, TrialStatus.FAILED)
        view.message = trial.reason or None
        directions = {each.name: each.direction for each in self.coordinator.study.objectives}
        for epoch, row in enumerate(trial.curve, start=1):
            for name, value in row.items():
                if not view.metrics.exists(name):
                    view.metrics.register(name, direction=directions.get(name, "min"))
                view.metrics.update(name, value, step=epoch)
        if trial.epochs:
            view.score, view.best_step = trial.curve[-1][self.coordinator.study.objective.name], trial.epochs
        return view

    # keras-tuner's own persistence, which the journal replaces.

    def save(self) -> None: ...  # noqa: D102
    def reload(self) -> None: ...  # noqa: D102
