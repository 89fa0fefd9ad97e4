import numpy as np
import pytest

from vit_keras.errors import DataError, EmptyDatasetError, InvalidArgumentError, LabelError
from vit_keras.training.transfer import nearest_neighbors
from vit_keras.training.transfer.nearest_neighbors import KNNClassifier


def oracle(bank, labels, queries, *, num_classes, k, temperature):
    """Votes image by image."""
    answers = []
    for query in queries:
        similarities = [query @ known / np.linalg.norm(query) / np.linalg.norm(known) for known in bank]
        votes = np.zeros(num_classes)
        for index in np.argsort(similarities)[::-1][:k]:
            votes[labels[index]] += np.exp(similarities[index] / temperature)
        answers.append(votes / votes.sum())
    return np.array(answers)


@pytest.fixture
def clouds(rng):
    """Three clouds of 40 in different directions, and queries from them."""
    labels = np.arange(120) % 3
    centers = rng.normal(size=(3, 12))
    return centers[labels] + rng.normal(size=(120, 12)), labels, rng.normal(size=(50, 12)) + centers[np.arange(50) % 3]


def test_equals_the_oracle(clouds):
    bank, labels, queries = clouds
    classifier = KNNClassifier(bank, labels, num_classes=4)
    expected = oracle(bank, labels, queries, num_classes=4, k=20, temperature=0.07)
    np.testing.assert_allclose(classifier.votes(queries), expected, atol=1e-5)
    np.testing.assert_array_equal(classifier.predict(queries), expected.argmax(axis=1))
    assert classifier.accuracy(queries, np.arange(50) % 3) == (expected.argmax(axis=1) == np.arange(50) % 3).mean()


def test_chunks_change_nothing(clouds, monkeypatch):
    bank, labels, queries = clouds
    classifier = KNNClassifier(bank, labels, num_classes=3, k=7, temperature=0.5)
    whole = classifier.votes(queries)
    monkeypatch.setattr(nearest_neighbors, "_CHUNK", 7 * len(bank))
    np.testing.assert_allclose(classifier.votes(queries), whole, atol=1e-6)


@pytest.mark.parametrize(
    ("sizes", "votes"), [((40, 40), 20), ((40, 8), 8), ((40, 2), 5), ((1, 1), 2), ((3, 0, 1), 4), ((30, 0, 9), 9)]
)
def test_small_classes_lower_the_votes(rng, sizes, votes):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    assert KNNClassifier(rng.normal(size=(len(labels), 4)), labels, num_classes=len(sizes)).num_neighbors == votes


def test_one_neighbor_is_the_most_similar(clouds):
    bank, labels, _ = clouds
    assert KNNClassifier(bank, labels, num_classes=3, k=1).accuracy(3 * bank, labels) == 1


def test_a_small_temperature_neither_overflows_nor_vanishes(clouds):
    bank, labels, queries = clouds
    votes = KNNClassifier(bank, labels, num_classes=3, temperature=1e-4).votes(queries)
    np.testing.assert_allclose(votes.sum(axis=1), 1, atol=1e-5)


def test_a_zero_vector_gets_finite_votes(clouds):
    bank, labels, _ = clouds
    assert np.isfinite(KNNClassifier(bank, labels, num_classes=3).votes(np.zeros((1, 12)))).all()


@pytest.mark.parametrize(
    ("count", "options", "error", "message"),
    [
        (120, {"k": 0}, InvalidArgumentError, "k must be a positive integer, got 0"),
        (120, {"temperature": 0}, InvalidArgumentError, "temperature must be a positive number, got 0"),
        (120, {"num_classes": 1}, InvalidArgumentError, "num_classes must be an integer of at least 2, got 1"),
        (120, {"num_classes": 2}, LabelError, "indices from 0 to 1; 40 of 120 are not, the first 2 at position 2"),
        (0, {}, EmptyDatasetError, "empty"),
    ],
)
def test_wrong_arguments_are_refused(clouds, count, options, error, message):
    bank, labels, _ = clouds
    with pytest.raises(error, match=message):
        KNNClassifier(bank[:count], labels[:count], **{"num_classes": 3, **options})


def test_wrong_features_are_refused(clouds):
    bank, labels, queries = clouds
    classifier = KNNClassifier(bank, labels, num_classes=3)
    broken = queries.copy()
    broken[3, 1] = np.nan
    for features, error, message in (
        (queries[:0], EmptyDatasetError, "empty"),
        (queries[:, :11], DataError, "width 11, expected 12"),
        (broken, DataError, "1 of 50 rows, the first 3"),
    ):
        with pytest.raises(error, match=message):
            classifier.predict(features)
