"""The rule that refuses a costly quantization, against its numbers worked out by hand and by scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import f1_score, r2_score

from vit_keras.errors import DataError, InvalidArgumentError
from vit_keras.exporting.check_images import CheckImages
from vit_keras.exporting.quantize import choose_calibration, compare_outputs


def outputs(right, count):
    """Logits of two classes for images of class 0, the first `right` of which are right."""
    logits = np.zeros((count, 2))
    logits[np.arange(count), (np.arange(count) >= right).astype(int)] = 1
    return logits


def report(before, after, count):
    return compare_outputs(outputs(before, count), outputs(after, count), labels=np.zeros(count, "int32"))


def test_accuracy_agreement_and_the_paired_standard_error():
    found = report(800, 790, 1000)
    assert (found.before, found.after, found.agreement, found.images) == (0.8, 0.79, 0.99, 1000)
    # Ten images became wrong and none right: the differences are ten ones and 990 zeros.
    # One more image, which differs, is assumed.
    assert found.standard_error == pytest.approx(np.sqrt(1000 * 0.01 * 0.99 + 1) / 1000)


@pytest.mark.parametrize(
    ("before", "after", "count", "is_refused"),
    [
        (800, 790, 1000, False),  # one point is allowed
        (800, 785, 1000, True),  # 1.5 points, two standard errors are 0.8
        (80, 77, 100, False),  # three points of few images, two standard errors are 4
        (80, 70, 100, True),  # ten points, two standard errors are 6
        (1, 0, 1, False),
        (790, 800, 1000, False),  # better
    ],
)
def test_a_loss_above_one_point_and_two_standard_errors_is_refused(before, after, count, is_refused):
    refusal = report(before, after, count).refusal()
    assert (refusal is not None) == is_refused
    assert not is_refused or refusal.startswith(
        f"the accuracy is {100 * before / count:.2f} % before and {100 * after / count:.2f} % after, on {count:,} labeled images"
    )


def test_another_loss_may_be_allowed():
    assert report(800, 785, 1000).refusal(0.02) is None
    assert report(800, 770, 1000).refusal(0.02) is not None


def test_losses_and_gains_that_cancel_are_no_loss_but_widen_the_error():
    before, after = outputs(500, 1000), outputs(500, 1000)
    after[[0, 1, 600, 601]] = after[[0, 1, 600, 601], ::-1]  # two become wrong, two right
    found = compare_outputs(before, after, labels=np.zeros(1000, "int32"))
    assert found.loss == 0
    assert found.standard_error == pytest.approx(np.sqrt(4 + 1) / 1000)


@pytest.mark.parametrize(("count", "is_refused"), [(999, False), (1000, True)])
def test_agreement_without_labels_is_enforced_from_a_thousand_images(count, is_refused):
    found = compare_outputs(outputs(count, count), outputs(count * 9 // 10, count))
    assert found.agreement == pytest.approx(0.9, abs=1e-3)
    assert (found.before, found.loss) == (None, None)
    assert (found.refusal() is not None) == is_refused


def test_several_classes_per_image_are_scored_by_f1_per_image():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (50, 6)).astype("uint8")
    before, after = rng.random((50, 6)), rng.random((50, 6))
    labels[0], before[0] = 0, 0.1  # nothing to find, and nothing found
    found = compare_outputs(before, after, labels=labels, task="multi_label", threshold=0.4)
    expected = f1_score(labels, before >= 0.4, average="samples", zero_division=1)
    assert (found.before, found.score_name) == (pytest.approx(expected), "F1 per image")
    assert found.agreement == ((before >= 0.4) == (after >= 0.4)).all(axis=1).mean()


def test_numbers_are_scored_by_r2():
    rng = np.random.default_rng(1)
    labels = rng.normal(size=(60, 2)) * (1, 30)
    before, after = labels + rng.normal(size=(60, 2)), labels + rng.normal(size=(60, 2))
    found = compare_outputs(before, after, labels=labels, task="regression")
    assert found.after == pytest.approx(r2_score(labels, after))
    assert found.agreement is None


def test_calibration_images_are_drawn_without_repeats_and_none_are_refused():
    images = np.arange(1000).reshape(-1, 1, 1, 1)
    chosen = choose_calibration(CheckImages(images=images)).ravel()
    assert len(set(chosen.tolist())) == 200
    assert chosen.max() > 800  # not the first of a class-ordered set
    np.testing.assert_array_equal(choose_calibration(CheckImages(images=images[:5])), images[:5])
    with pytest.raises(DataError, match=r"range of each activation on images of your data.*calibration="):
        choose_calibration(CheckImages(images=images[:0]))


def test_outputs_of_other_shapes_are_refused():
    with pytest.raises(InvalidArgumentError, match=r"\(2, 3\) and \(2, 4\)"):
        compare_outputs(np.zeros((2, 3)), np.zeros((2, 4)))
