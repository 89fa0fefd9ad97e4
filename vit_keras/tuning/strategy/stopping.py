"""When a trial is not worth going on with before its next rung."""

from vit_keras.tuning.study.study import Study, Trial

LEAST = 3  # completed trials that have to be known


def hopeless(study: Study, trial: Trial) -> str:
    """Returns why a trial can't become the best any more, or an empty word.

    It can't where its score, raised by the most that any completed trial gained from that epoch to the end, is below the best of
    them. Judged by trials that had the same schedule for the same time, not by a curve's own shape: a learning rate that falls to zero
    lifts every curve at its end. With several objectives none is hopeless.

    Args:
        study: What is known.
        trial: A trial with an epoch or more.
    """
    done = [each for each in study.trials if each.state == "COMPLETED"]
    if len(done) < LEAST or len(study.objectives) > 1 or trial.epochs >= study.epochs:
        return ""
    value, epochs = study.objective.value, trial.epochs
    best = max(value(each) for each in done)
    most = max(value(each) - value(each, epochs) for each in done)
    reach = value(trial) + max(most, 0.0)
    if reach >= best:
        return ""
    return (
        f"at epoch {epochs} its {study.objective.name} is {trial.curve[-1][study.objective.name]:.4g}; with the most that a "
        f"completed trial gained from there, {most:.4g}, it would stay below the best"
    )
