import numpy as np
import pytest

from vit_keras.errors import DataError, EmptyDatasetError, InvalidArgumentError, LabelError
from vit_keras.training.transfer import nearest_neighbors
from vit_keras.training.transfer.nearest_neighbors import KNNClassifier

pytestmark = pytest.mark.any_backend


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


def test_equals_the_oracle_in_chunks_too(clouds, monkeypatch):
    bank, labels, queries = clouds
    expected = oracle(bank, labels, queries, num_classes=4, k=20, temperature=0.07)
    for chunk in (nearest_neighbors._CHUNK, 7 * len(bank)):
        monkeypatch.setattr(nearest_neighbors, "_CHUNK", chunk)
        classifier = KNNClassifier(bank, labels, num_classes=4)
        np.testing.assert_allclose(classifier.votes(queries), expected, atol=1e-5)
        np.testing.assert_array_equal(classifier.predict(queries), expected.argmax(axis=1))
        assert classifier.accuracy(queries, np.arange(50) % 3) == (expected.argmax(axis=1) == np.arange(50) % 3).mean()
    assert KNNClassifier(bank, labels, num_classes=3, k=1).accuracy(3 * bank, labels) == 1


@pytest.mark.parametrize(
    ("sizes", "votes"), [((40, 40), 20), ((40, 8), 8), ((40, 2), 5), ((1, 1), 2), ((3, 0, 1), 4), ((30, 0, 9), 9)]
)
def test_small_classes_lower_the_votes(rng, sizes, votes):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    assert KNNClassifier(rng.normal(size=(len(labels), 4)), labels, num_classes=len(sizes)).num_neighbors == votes


def test_a_small_temperature_and_a_zero_vector_give_finite_votes(clouds):
    bank, labels, queries = clouds
    votes = KNNClassifier(bank, labels, num_classes=3, temperature=1e-4).votes(np.append(queries, np.zeros((1, 12)), 0))
    np.testing.assert_allclose(votes.sum(axis=1), 1, atol=1e-5)


def test_wrong_arguments_and_features_are_refused(clouds):
    bank, labels, queries = clouds
    broken = queries.copy()
    broken[3, 1] = np.nan
    two = "indices from 0 to 1; 40 of 120 are not, the first 2 at position 2"
    for count, options, features, error, message in (
        (120, {"k": 0}, queries, InvalidArgumentError, "k must be a positive integer, got 0"),
        (120, {"temperature": 0}, queries, InvalidArgumentError, "temperature must be a positive number, got 0"),
        (120, {"num_classes": 1}, queries, InvalidArgumentError, "num_classes must be an integer of at least 2, got 1"),
        (120, {"num_classes": 2}, queries, LabelError, two),
        (0, {}, queries, EmptyDatasetError, "empty"),
        (120, {}, queries[:0], EmptyDatasetError, "empty"),
        (120, {}, queries[:, :11], DataError, "width 11, expected 12"),
        (120, {}, broken, DataError, "1 of 50 rows, the first 3"),
    ):
        with pytest.raises(error, match=message):
            KNNClassifier(bank[:count], labels[:count], **{"num_classes": 3, **options}).predict(features)
