import numpy as np
import pytest

from vit_keras.errors import DataError, EmptyDatasetError, InvalidArgumentError, LabelError
from vit_keras.training.transfer import nearest_neighbors as nearest_neighbours
from vit_keras.training.transfer.nearest_neighbors import KNNClassifier


def oracle(bank, labels, queries, *, num_classes, k, temperature):
    """Image by image."""
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
    """Three clouds of 40 around directions of their own, and queries among them."""
    labels = np.arange(120) % 3
    centres = rng.normal(size=(3, 12))
    return centres[labels] + rng.normal(size=(120, 12)), labels, rng.normal(size=(50, 12)) + centres[np.arange(50) % 3]


def test_equals_the_oracle(clouds):
    bank, labels, queries = clouds
    neighbours = KNNClassifier(bank, labels, num_classes=4)
    expected = oracle(bank, labels, queries, num_classes=4, k=20, temperature=0.07)
    np.testing.assert_allclose(neighbours.votes(queries), expected, atol=1e-5)
    np.testing.assert_array_equal(neighbours.predict(queries), expected.argmax(axis=1))
    assert neighbours.accuracy(queries, np.arange(50) % 3) == (expected.argmax(axis=1) == np.arange(50) % 3).mean()


def test_blocks_change_nothing(clouds, monkeypatch):
    bank, labels, queries = clouds
    neighbours = KNNClassifier(bank, labels, num_classes=3, k=7, temperature=0.5)
    whole = neighbours.votes(queries)
    monkeypatch.setattr(nearest_neighbours, "_TOGETHER", 7 * len(bank))
    np.testing.assert_allclose(neighbours.votes(queries), whole, atol=1e-6)


@pytest.mark.parametrize(
    ("sizes", "votes"), [((40, 40), 20), ((40, 8), 8), ((40, 2), 5), ((1, 1), 2), ((3, 0, 1), 4), ((30, 0, 9), 9)]
)
def test_small_classes_lower_the_votes(rng, sizes, votes):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    assert KNNClassifier(rng.normal(size=(len(labels), 4)), labels, num_classes=len(sizes)).neighbours == votes


def test_one_neighbour_is_the_most_similar(clouds):
    bank, labels, _ = clouds
    assert KNNClassifier(bank, labels, num_classes=3, k=1).accuracy(3 * bank, labels) == 1


def test_a_small_temperature_neither_overflows_nor_vanishes(clouds):
    bank, labels, queries = clouds
    votes = KNNClassifier(bank, labels, num_classes=3, temperature=1e-4).votes(queries)
    np.testing.assert_allclose(votes.sum(axis=1), 1, atol=1e-5)


def test_an_image_without_direction_is_answered(clouds):
    bank, labels, _ = clouds
    assert np.isfinite(KNNClassifier(bank, labels, num_classes=3).votes(np.zeros((1, 12)))).all()


def test_bad_input(clouds):
    bank, labels, queries = clouds
    with pytest.raises(InvalidArgumentError, match="k=0"):
        KNNClassifier(bank, labels, num_classes=3, k=0)
    with pytest.raises(InvalidArgumentError, match="temperature=0"):
        KNNClassifier(bank, labels, num_classes=3, temperature=0)
    with pytest.raises(InvalidArgumentError, match="num_classes=1"):
        KNNClassifier(bank, labels, num_classes=1)
    with pytest.raises(LabelError, match=r"2 classes \(0 to 1\) in 40 of 120 places: the first is 2 in place 2"):
        KNNClassifier(bank, labels, num_classes=2)
    with pytest.raises(EmptyDatasetError, match="empty"):
        KNNClassifier(bank[:0], labels[:0], num_classes=3)
    neighbours = KNNClassifier(bank, labels, num_classes=3)
    with pytest.raises(EmptyDatasetError, match="empty"):
        neighbours.predict(queries[:0])
    with pytest.raises(DataError, match="11 wide where 12"):
        neighbours.predict(queries[:, :11])
    queries[3, 1] = np.nan
    with pytest.raises(DataError, match="1 of 50 rows, the first 3"):
        neighbours.predict(queries)
