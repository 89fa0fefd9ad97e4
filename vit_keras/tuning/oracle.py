"""Our search as a `keras_tuner.Oracle`: its decisions are the policy's, its memory the journal."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import keras_tuner
from keras_tuner.engine import trial as trial_module

from vit_keras.tuning.strategy.policy import Policy
from vit_keras.tuning.strategy.stopping import hopeless
from vit_keras.tuning.study.journal import Journal
from vit_keras.tuning.study.study import FAULTS, Objective, Study, Trial

MOST_STARTS = 3  # of a trial whose process ends before an epoch is done
EPOCHS, INITIAL_EPOCH, REASON = "tuner/epochs", "tuner/initial_epoch", "tuner/reason"
"""Names under which a trial's values say how far to train and from where, as keras-tuner's Hyperband has them, and how it failed:
what a trial says beside its values does not reach a chief."""
_Status = trial_module.TrialStatus
_STATUS = {
    "QUEUED": _Status.RUNNING,
    "RUNNING": _Status.RUNNING,
    "COMPLETED": _Status.COMPLETED,
    "PRUNED": _Status.COMPLETED,
}


class ViTOracle(keras_tuner.Oracle):
    """Asynchronous successive halving with a model-based sampler, which goes on where its journal ends.

    To keras-tuner a configuration is one trial, given out once a rung.

    Args:
        policy: Decides.
        study: What is known; the journal's records, folded.
        journal: Where everything goes first.
        costs: Returns what is known of values before they are trained, such as parameters.
        on_event: Told each record as it is written.
    """

    def __init__(
        self,
        policy: Policy,
        study: Study,
        journal: Journal,
        *,
        costs: Callable[[Mapping[str, Any]], dict[str, float]],
        on_event: Callable[[Mapping[str, Any]], object] = lambda record: None,
    ) -> None:
        objectives = [keras_tuner.Objective(each.name, each.direction) for each in study.objectives]
        super().__init__(objective=objectives[0], max_trials=policy.budget.trials, seed=policy.sampler.seed or 1)
        self.policy = policy
        self.study = study
        self.journal = journal
        self.costs = costs
        self.on_event = on_event
        self.closing = False
        """Set to have every trial end with its epoch, and none begun."""
        self.heard: dict[int, float] = {}
        for trial in study.trials:
            self._show(trial)

    @keras_tuner.synchronized
    def create_trial(self, tuner_id: str) -> keras_tuner.engine.trial.Trial:
        """Returns what a free worker trains next, as a trial of keras-tuner; its status says whether there is anything.

        Args:
            tuner_id: The worker.
        """
        self.tuner_ids.add(tuner_id)
        step = self.policy.next(self.study, seconds=self.journal.seconds)
        if self.closing or step.what == "stop":
            self.tuner_ids.discard(tuner_id)
            return self._nothing(_Status.STOPPED)
        if step.what == "wait":
            return self._nothing(_Status.IDLE)
        trial = step.trial
        if trial is None:
            values = step.values or {}
            number = len(self.study.trials)
            self.note("proposed", trial=number, values=values, origin=step.origin, costs=self.costs(values))
            trial = self.study.trials[number]
        self.note("started", trial=trial.number, epochs=step.epochs, worker=tuner_id)
        self.heard[trial.number] = time.monotonic()
        shown = self._show(trial)
        self.ongoing_trials[tuner_id] = shown
        if shown.trial_id not in self.start_order:
            self.start_order.append(shown.trial_id)
        return shown

    @keras_tuner.synchronized
    def update_trial(
        self, trial_id: str, metrics: Mapping[str, float], step: int = 0
    ) -> keras_tuner.engine.trial.Trial:
        """Takes in an epoch of a trial, and returns it; status STOPPED says not to go on.

        Args:
            trial_id: The trial.
            metrics: Of that epoch, with its "seconds".
            step: Epochs done.
        """
        trial = self.study.trials[int(trial_id)]
        rows = dict(metrics)
        seconds = rows.pop("seconds", 0.0)
        self.heard[trial.number] = time.monotonic()
        self.note("epoch", trial=trial.number, epoch=int(step), metrics=rows, seconds=round(float(seconds), 3))
        shown = self._show(trial)
        ends = self.closing or self._is_late() or bool(hopeless(self.study, trial))
        if not ends:
            return shown
        copy = trial_module.Trial(shown.hyperparameters, shown.trial_id, _Status.STOPPED)
        copy.metrics = shown.metrics
        return copy

    @keras_tuner.synchronized
    def end_trial(self, trial: keras_tuner.engine.trial.Trial) -> None:
        """Takes in how a trial was left: at its rung, at the horizon, stopped before, or failed.

        Args:
            trial: With status COMPLETED where its worker did what it was told; else its values say the state it failed in, and why.
        """
        own = self.study.trials[int(trial.trial_id)]
        self.heard.pop(own.number, None)
        for tuner_id, ongoing in list(self.ongoing_trials.items()):
            if ongoing.trial_id == trial.trial_id:
                del self.ongoing_trials[tuner_id]
        if trial.status == _Status.COMPLETED:
            self._left(own)
        else:
            words = str(trial.hyperparameters.values.get(REASON, "FAILED: no reason was given"))
            state, _, reason = words.partition(": ")
            self._failed(own, state if state in FAULTS else "FAILED", reason)
        self._show(own)
        if own.state not in ("QUEUED", "RUNNING"):
            self.end_order.append(trial.trial_id)

    def get_trial(self, trial_id: str) -> keras_tuner.engine.trial.Trial:
        """Returns a trial; asking for one that is trained shows that its worker is alive."""
        if int(trial_id) in self.heard:
            self.heard[int(trial_id)] = time.monotonic()
        return super().get_trial(trial_id)

    def get_best_trials(self, num_trials: int = 1) -> list[keras_tuner.engine.trial.Trial]:
        """Returns the best trials, those trained further first; none that failed."""
        return [self._show(trial) for trial in self.study.ranked()[:num_trials]]

    @keras_tuner.synchronized
    def expire(self, seconds: float) -> list[int]:
        """Takes trials back from workers that were not heard of for too long, and returns their numbers.

        Args:
            seconds: How long.
        """
        lost = [number for number, heard in self.heard.items() if time.monotonic() - heard > seconds]
        for number in lost:
            del self.heard[number]
            for tuner_id, ongoing in list(self.ongoing_trials.items()):
                if int(ongoing.trial_id) == number:
                    del self.ongoing_trials[tuner_id]
                    self.tuner_ids.discard(tuner_id)
            self._failed(self.study.trials[number], "KILLED", f"Its worker was not heard of for {seconds:g} s.")
            self._show(self.study.trials[number])
        return lost

    @keras_tuner.synchronized
    def reopen(self) -> None:
        """Takes back what was trained when the search ended or was killed, and what a smaller budget left at its rung."""
        for trial in self.study.trials:
            at_rung = (
                trial.state == "PRUNED" and trial.epochs == trial.target and trial.epochs in self.policy.halving.rungs
            )
            if trial.state == "RUNNING" or at_rung:
                self.note("waiting", trial=trial.number, reason="")

    @keras_tuner.synchronized
    def finish(self) -> None:
        """Ends the search: what still stands at a rung was not promoted."""
        for trial in self.study.trials:
            if trial.state == "QUEUED" and trial.epochs:
                self.note(
                    "ended", trial=trial.number, state="PRUNED", reason=f"not promoted beyond epoch {trial.epochs}"
                )
            self._show(trial)
        self.journal.close()

    def note(self, what: str, **fields: Any) -> None:
        """Writes a record, then takes it in.

        Args:
            what: Its kind.
            **fields: What it says.
        """
        record = self.journal.append(what, **fields)
        self.study.add(record)
        self.on_event(record)

    def _left(self, trial: Trial) -> None:
        reason = hopeless(self.study, trial)
        if trial.epochs >= self.study.epochs:
            self.note("ended", trial=trial.number, state="COMPLETED")
        elif reason and trial.epochs < trial.target:
            self.note("ended", trial=trial.number, state="PRUNED", reason=reason)
        else:
            self.note("waiting", trial=trial.number)

    def _failed(self, trial: Trial, state: str, reason: str) -> None:
        """Ends a trial; one whose process was killed is begun again first, for that may have been another's doing."""
        if state == "KILLED" and trial.starts < MOST_STARTS:
            self.note("waiting", trial=trial.number, reason=reason)
            return
        if state == "KILLED":
            reason = f"It was begun {trial.starts} times without an epoch done. {reason}"
        self.note("ended", trial=trial.number, state=state, reason=reason)

    def _is_late(self) -> bool:
        seconds = self.policy.budget.seconds
        return seconds is not None and self.journal.seconds > seconds

    def _nothing(self, status: str) -> keras_tuner.engine.trial.Trial:
        return trial_module.Trial(self.hyperparameters.copy(), trial_id="none", status=status)

    def _show(self, trial: Trial) -> keras_tuner.engine.trial.Trial:
        """Brings keras-tuner's view of a trial up to date, and returns it."""
        trial_id = f"{trial.number:04d}"
        shown = self.trials.get(trial_id)
        if shown is None:
            hyperparameters = self.hyperparameters.copy()
            hyperparameters.values = dict(trial.values)
            shown = self.trials[trial_id] = trial_module.Trial(hyperparameters, trial_id=trial_id)
        shown.hyperparameters.values |= {EPOCHS: trial.target, INITIAL_EPOCH: trial.epochs}
        shown.status = _STATUS.get(trial.state, _Status.FAILED)
        shown.message = trial.reason or None
        direction: Mapping[str, str] = {each.name: each.direction for each in self.study.objectives}
        for epoch, row in enumerate(trial.curve, start=1):
            for name, value in row.items():
                if not shown.metrics.exists(name):
                    shown.metrics.register(name, direction=direction.get(name, "min"))
                shown.metrics.update(name, value, step=epoch)
        if trial.epochs:
            shown.score, shown.best_step = _plain(self.study.objective, trial), trial.epochs
        return shown

    def save(self) -> None:
        """Nothing: the journal has it already."""

    def reload(self) -> None:
        """Nothing: the journal was read."""

    def get_state(self) -> dict[str, Any]:
        """Returns nothing that keras-tuner would have to keep."""
        return {}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Puts nothing back."""

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Never called: `create_trial` decides."""
        raise NotImplementedError


def _plain(objective: Objective, trial: Trial) -> float:
    """Returns an objective as it was logged."""
    value = objective.value(trial)
    return value if objective.direction == "max" else -value
