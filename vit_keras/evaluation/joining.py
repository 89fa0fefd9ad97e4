"""Joins the evaluations of the folds of a cross-validation."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from vit_keras.evaluation.evaluate import AnyEvaluation
from vit_keras.evaluation.metrics import Evaluation
from vit_keras.evaluation.multi_label import MultiLabelEvaluation


def join_evaluations(evaluations: Sequence[AnyEvaluation]) -> AnyEvaluation:
    """Returns the evaluation of all images, those of the first evaluation first; its threshold is the mean of theirs."""
    labels = np.concatenate([each.labels for each in evaluations])
    first = evaluations[0]
    if isinstance(first, MultiLabelEvaluation):
        several = [each for each in evaluations if isinstance(each, MultiLabelEvaluation)]
        return replace(
            first,
            probabilities=np.concatenate([each.probabilities for each in several]),
            labels=labels,
            threshold=float(np.mean([each.threshold for each in several])),
        )
    if isinstance(first, Evaluation):
        single = [each for each in evaluations if isinstance(each, Evaluation)]
        return replace(first, probabilities=np.concatenate([each.probabilities for each in single]), labels=labels)
    return replace(first, predictions=np.concatenate([each.predictions for each in evaluations]), labels=labels)
