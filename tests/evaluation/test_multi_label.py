import math

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, average_precision_score, f1_score, log_loss

from vit_keras.evaluation.multi_label import MultiLabelEvaluation, choose_threshold

pytestmark = pytest.mark.any_backend


@pytest.fixture
def predicted():
    rng = np.random.default_rng(0)
    labels = (rng.random((200, 5)) < [0.5, 0.3, 0.2, 0.1, 0.05]).astype("uint8")
    probabilities = 1 / (1 + np.exp(-(2 * labels - 2.5 + rng.normal(size=labels.shape))))
    return probabilities, labels


@pytest.mark.parametrize("threshold", [0.2, 0.5])
def test_the_metrics_are_those_of_scikit_learn(predicted, threshold):
    probabilities, labels = predicted
    found = MultiLabelEvaluation(probabilities, labels, tuple("abcde"), threshold)
    chosen = probabilities >= threshold
    assert found.mean_average_precision == pytest.approx(
        average_precision_score(labels, probabilities, average="macro")
    )
    assert found.macro_f1 == pytest.approx(f1_score(labels, chosen, average="macro"))
    assert found.micro_f1 == pytest.approx(f1_score(labels, chosen, average="micro"))
    assert found.exact_match == pytest.approx(accuracy_score(labels, chosen))
    assert found.loss == pytest.approx(np.mean([log_loss(labels[:, at], probabilities[:, at]) for at in range(5)]))
    assert [each.f1 for each in found.classes] == pytest.approx(f1_score(labels, chosen, average=None))
    assert list(found.summary()) == ["mean_average_precision", "macro_f1", "micro_f1"]


def test_classes_without_images_have_no_scores_and_do_not_count(predicted):
    probabilities, labels = predicted
    labels, probabilities = labels.copy(), probabilities.copy()
    labels[:, 2], probabilities[:, 2] = 0, 0.0
    found = MultiLabelEvaluation(probabilities, labels)
    others = [0, 1, 3, 4]
    expected = average_precision_score(labels[:, others], probabilities[:, others], average="macro")
    assert found.mean_average_precision == pytest.approx(expected)
    assert found.macro_f1 == pytest.approx(
        f1_score(labels, probabilities >= 0.5, average="macro", zero_division=np.nan)
    )
    assert math.isnan(found.classes[2].average_precision)
    assert found.to_dict()["classes"][2] == {
        "name": "2", "images": 0, "average_precision": None, "precision": None, "recall": None, "f1": None,
    }  # fmt: skip
    assert str(found).splitlines()[-1].split() == ["2", "0", "-", "-", "-", "-"]


def test_no_other_threshold_has_a_better_f1(predicted):
    probabilities, labels = predicted
    chosen = choose_threshold(probabilities, labels)
    scores = {at / 100: f1_score(labels, probabilities >= at / 100, average="macro") for at in range(1, 100)}
    assert scores[chosen] == pytest.approx(max(scores.values()))
    assert chosen != 0.5


def test_of_equal_thresholds_the_nearest_to_a_half_is_chosen():
    assert choose_threshold(np.array([[0.9], [0.1]]), np.array([[1], [0]])) == 0.5
    assert choose_threshold(np.array([[0.9], [0.7]]), np.array([[1], [0]])) == pytest.approx(0.71)
    assert choose_threshold(np.zeros((2, 1)), np.zeros((2, 1))) == 0.5
