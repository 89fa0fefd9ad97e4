"""The search as a `keras_tuner.Oracle`: the policy decides, the journal is its memory."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import keras_tuner
from keras_tuner.engine import trial as trial_module

from vit_keras.tuning.strategy.policy import Policy
from vit_keras.tuning.strategy.stopping import prune_reason
from vit_keras.tuning.study.journal import Journal
from vit_keras.tuning.study.study import FAULTS, Study, Trial

MOST_STARTS = 3  # of a trial whose process dies before it finishes an epoch
EPOCHS, INITIAL_EPOCH, REASON = "tuner/epochs", "tuner/initial_epoch", "tuner/reason"
"""Entries of a trial's values beside the hyperparameters: the first two as keras-tuner's Hyperband has them; the third carries the
reason of a failure, because a chief receives only the values of a trial."""
TrialStatus = trial_module.TrialStatus
_STATUS = dict.fromkeys(("QUEUED", "RUNNING"), TrialStatus.RUNNING)
_STATUS |= dict.fromkeys(("COMPLETED", "PRUNED"), TrialStatus.COMPLETED)


class ViTOracle(keras_tuner.Oracle):
    """Asynchronous successive halving with a model-based sampler, resumable from its journal.

    To keras-tuner a configuration is one trial, which is handed out once per rung. `compute_costs` returns what is known of values
    before training, such as parameters; `on_event` gets each record after the journal has it.
    """

    def __init__(
        self,
        policy: Policy,
        study: Study,
        journal: Journal,
        *,
        compute_costs: Callable[[Mapping[str, Any]], dict[str, float]],
        on_event: Callable[[Mapping[str, Any]], object] = lambda record: None,
    ) -> None:
        objectives = [keras_tuner.Objective(each.name, each.direction) for each in study.objectives]
        super().__init__(objective=objectives[0], max_trials=policy.budget.trials, seed=policy.sampler.seed or 1)
        self.policy = policy
        self.study = study
        self.journal = journal
        self.compute_costs = compute_costs
        self.on_event = on_event
        self.closing = False
        """Set to end every trial after its epoch and to start no other."""
        self._last_heard: dict[int, float] = {}  # running trials, seconds of the monotonic clock
        for trial in study.trials:
            self._update_view(trial)

    @keras_tuner.synchronized
    def create_trial(self, tuner_id: str) -> keras_tuner.engine.trial.Trial:
        """Returns what a free worker trains next; the status says IDLE or STOPPED if there is nothing."""
        self.tuner_ids.add(tuner_id)
        step = self.policy.decide(self.study, seconds=self.journal.seconds)
        if self.closing or step.what == "stop":
            self.tuner_ids.discard(tuner_id)
            return self._no_trial(TrialStatus.STOPPED)
        if step.what == "wait":
            return self._no_trial(TrialStatus.IDLE)
        trial = step.trial
        if trial is None:
            values, number = step.values or {}, len(self.study.trials)
            costs = self.compute_costs(values)
            self._record("proposed", trial=number, values=values, origin=step.origin, costs=costs)
            trial = self.study.trials[number]
        self._record("started", trial=trial.number, epochs=step.epochs, worker=tuner_id)
        self._last_heard[trial.number] = time.monotonic()
        view = self._update_view(trial)
        self.ongoing_trials[tuner_id] = view
        if view.trial_id not in self.start_order:
            self.start_order.append(view.trial_id)
        return view

    @keras_tuner.synchronized
    def update_trial(
        self, trial_id: str, metrics: Mapping[str, float], step: int = 0
    ) -> keras_tuner.engine.trial.Trial:
        """Records an epoch of a trial; the returned status STOPPED ends the trial."""
        trial = self.study.trials[int(trial_id)]
        row = dict(metrics)
        seconds = round(float(row.pop("seconds", 0.0)), 3)
        self._last_heard[trial.number] = time.monotonic()
        self._record("epoch", trial=trial.number, epoch=int(step), metrics=row, seconds=seconds)
        view = self._update_view(trial)
        budget = self.policy.budget.seconds
        is_over_budget = budget is not None and self.journal.seconds > budget
        if not (self.closing or is_over_budget or prune_reason(self.study, trial)):
            return view
        stopped = trial_module.Trial(view.hyperparameters, view.trial_id, TrialStatus.STOPPED)
        stopped.metrics = view.metrics
        return stopped

    @keras_tuner.synchronized
    def end_trial(self, trial: keras_tuner.engine.trial.Trial) -> None:
        """Records how a worker left a trial; unless it is COMPLETED, its values hold the fault and the reason."""
        own = self.study.trials[int(trial.trial_id)]
        self._release(own)
        if trial.status == TrialStatus.COMPLETED:
            reason = prune_reason(self.study, own)
            if own.epochs >= self.study.epochs:
                self._record("ended", trial=own.number, state="COMPLETED")
            elif reason and own.epochs < own.target:
                self._record("ended", trial=own.number, state="PRUNED", reason=reason)
            else:
                self._record("waiting", trial=own.number)
        else:
            text = str(trial.hyperparameters.values.get(REASON, "FAILED: no reason was given"))
            state, _, reason = text.partition(": ")
            self._fail(own, state if state in FAULTS else "FAILED", reason)
        self._update_view(own)
        if own.state not in ("QUEUED", "RUNNING"):
            self.end_order.append(trial.trial_id)

    def get_trial(self, trial_id: str) -> keras_tuner.engine.trial.Trial:
        """Returns a trial; for a running one this is also the heartbeat of its worker."""
        if int(trial_id) in self._last_heard:
            self._last_heard[int(trial_id)] = time.monotonic()
        return super().get_trial(trial_id)

    def get_best_trials(self, num_trials: int = 1) -> list[keras_tuner.engine.trial.Trial]:
        """Returns the best trials, those trained for more epochs first, without failed ones."""
        return [self._update_view(trial) for trial in self.study.ranking[:num_trials]]

    @keras_tuner.synchronized
    def take_back_lost(self, seconds: float) -> None:
        """Takes trials back from workers that were silent for so many seconds."""
        now = time.monotonic()
        for number in [number for number, heard in self._last_heard.items() if now - heard > seconds]:
            trial = self.study.trials[number]
            self.tuner_ids -= self._release(trial)
            self._fail(trial, "KILLED", f"Its worker was silent for {seconds:g} s.")
            self._update_view(trial)

    @keras_tuner.synchronized
    def reopen(self) -> None:
        """Requeues trials that ran when the search was killed, and those that a smaller budget left at their rung."""
        for trial in self.study.trials:
            is_at_rung = trial.epochs == trial.target and trial.epochs in self.policy.halving.rungs
            if trial.state == "RUNNING" or (trial.state == "PRUNED" and is_at_rung):
                self._record("waiting", trial=trial.number, reason="")

    @keras_tuner.synchronized
    def finish(self) -> None:
        """Ends the search: trials that still wait at a rung were not promoted."""
        for trial in self.study.trials:
            if trial.state == "QUEUED" and trial.epochs:
                reason = f"not promoted beyond epoch {trial.epochs}"
                self._record("ended", trial=trial.number, state="PRUNED", reason=reason)
            self._update_view(trial)
        self.journal.close()

    def _record(self, what: str, **fields: Any) -> None:
        record = self.journal.append(what, **fields)
        self.study.add(record)
        self.on_event(record)

    def _release(self, trial: Trial) -> set[str]:
        """Forgets that a trial runs, and returns the workers that had it."""
        self._last_heard.pop(trial.number, None)
        workers = {worker for worker, view in self.ongoing_trials.items() if int(view.trial_id) == trial.number}
        for worker in workers:
            del self.ongoing_trials[worker]
        return workers

    def _fail(self, trial: Trial, state: str, reason: str) -> None:
        """Ends a trial with a fault; one whose process was killed is started again first, since another may have caused it."""
        if state == "KILLED" and trial.starts < MOST_STARTS:
            self._record("waiting", trial=trial.number, reason=reason)
            return
        if state == "KILLED":
            reason = f"It was started {trial.starts} times without finishing an epoch. {reason}"
        self._record("ended", trial=trial.number, state=state, reason=reason)

    def _no_trial(self, status: str) -> keras_tuner.engine.trial.Trial:
        return trial_module.Trial(self.hyperparameters.copy(), trial_id="none", status=status)

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
        directions = {each.name: each.direction for each in self.study.objectives}
        for epoch, row in enumerate(trial.curve, start=1):
            for name, value in row.items():
                if not view.metrics.exists(name):
                    view.metrics.register(name, direction=directions.get(name, "min"))
                view.metrics.update(name, value, step=epoch)
        if trial.epochs:
            view.score, view.best_step = trial.curve[-1][self.study.objective.name], trial.epochs
        return view

    # keras-tuner's own persistence, which the journal replaces.

    def save(self) -> None: ...  # noqa: D102
    def reload(self) -> None: ...  # noqa: D102
