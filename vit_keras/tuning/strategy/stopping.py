"""Stops a trial that can no longer become the best."""

from vit_keras.tuning.study.study import Study, Trial

LEAST = 3  # completed trials that the decision needs


def prune_reason(study: Study, trial: Trial) -> str:
    """Returns why a trial can no longer become the best, or an empty string.

    A trial is pruned if its score, plus the largest gain of any completed trial from the same epoch to the end, is below the best
    completed score. The gain comes from trials with the same schedule, not from the curve's own shape, because every curve rises
    when the learning rate falls to zero. With several objectives no trial is pruned.
    """
    completed = [each for each in study.trials if each.state == "COMPLETED"]
    if len(completed) < LEAST or len(study.objectives) > 1 or trial.epochs >= study.epochs:
        return ""
    objective, epochs = study.objective, trial.epochs
    final = [each.value(objective) for each in completed]
    largest_gain = max(0.0, *(end - each.value(objective, epochs) for end, each in zip(final, completed, strict=True)))
    if trial.value(objective) + largest_gain >= max(final):
        return ""
    return (
        f"at epoch {epochs} its {objective.name} is {trial.curve[-1][objective.name]:.4g}; with the largest gain of a "
        f"completed trial from there, {largest_gain:.4g}, it would stay below the best"
    )
