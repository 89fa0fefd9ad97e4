"""Saving and stopping at one step on all processes, whichever of them asked for it."""

import itertools
from typing import Literal

from vit_keras.distributed.cluster import gather, is_chief, look, post, process_count

Action = Literal["save", "stop", "end"]
"""Save a checkpoint; save and interrupt the run; end the training as early stopping does."""
_ASKED: tuple[Action, ...] = ("stop", "end")  # by any process; the chief alone decides when to save
_AHEAD = 2  # steps
_trainings = itertools.count()


class SharedActions:
    """What all processes do at the same step: one asks, the chief names the step.

    No process is more than one step ahead of another, since `FiniteLoss` waits at each step for the loss of the step before, which needs
    all processes. So a step that the chief names two ahead is known to all when they come to it.
    """

    def __init__(self) -> None:
        self._prefix = f"training-{next(_trainings)}"
        self._number = 0  # of the next action
        self._announced = False
        self._asked: set[str] = set()
        self._done: set[str] = set()

    def at_step(self, step: int, wanted: Action | None) -> Action | None:
        """Returns what all processes do after this step; `wanted` is what this process asks for."""
        if process_count() == 1:
            return wanted
        if wanted is not None and wanted != "save" and wanted not in self._asked:
            self._asked.add(wanted)
            post(f"{self._prefix}/ask/{wanted}", True)
        key = f"{self._prefix}/do/{self._number}"
        if is_chief() and not self._announced:
            action = next(
                (each for each in _ASKED if each not in self._done and look(f"{self._prefix}/ask/{each}")), None
            )
            action = action or ("save" if wanted == "save" else None)
            if action is not None:
                post(key, [step + _AHEAD, action])
                self._announced = True
        planned = look(key)
        if planned is None or step < planned[0]:
            return None
        self._number, self._announced = self._number + 1, False
        action = planned[1]
        self._done.add(action)
        return action

    def at_epoch_end(self, wanted: set[Action]) -> set[Action]:
        """Returns what any process asks for at the end of an epoch, where all meet."""
        if process_count() == 1:
            return wanted
        return {action for each in gather(sorted(wanted)) for action in each}
