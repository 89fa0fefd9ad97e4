import numpy as np
import pytest

from vit_keras.data.augment.mixing import mix

DEIT = {"mixup_alpha": 0.8, "cutmix_alpha": 1.0, "mix_rate": 1.0, "switch_rate": 0.5}
MIXUP, CUTMIX = {**DEIT, "cutmix_alpha": 0.0}, {**DEIT, "mixup_alpha": 0.0}


def mixed(images, labels, *, num_classes=None, seed=(0, 0), **numbers):
    classes = num_classes or int(labels.max()) + 1
    results = mix(images, labels, num_classes=classes, seed=np.array(seed), **numbers)
    return tuple(np.asarray(result) for result in results)


def numbered(count, height=6, width=8):
    """Returns images, the first half black and the second white, each with its own class."""
    images = np.zeros((count, height, width, 1), "uint8")
    images[count // 2 :] = 255
    return images, np.arange(count)


def shares(targets):
    """Returns the share of each image's own class."""
    return np.diagonal(targets).astype("float64")


def own_pixels(images, results):
    """Returns which pixels are unchanged."""
    return (results == images)[..., 0]


@pytest.fixture
def photos(rng):
    return rng.integers(0, 256, (24, 10, 14, 3)).astype("uint8"), rng.integers(0, 5, 24)


def paper_boxes(alpha, height, width, count=20000):
    """Returns the boxes of the paper's equations, `(count, height, width)`."""
    rng = np.random.default_rng(9)
    kept = rng.beta(alpha, alpha, count)
    inside = []
    for side in (height, width):
        length, middle = (side * np.sqrt(1 - kept)).astype(int)[:, None], rng.integers(0, side, (count, 1))
        inside.append((np.arange(side) >= middle - length // 2) & (np.arange(side) < middle + (length + 1) // 2))
    return inside[0][:, :, None] & inside[1][:, None, :]


def same_distribution(first, second):
    """Returns the largest distance between two cumulative distributions."""
    places = np.concatenate([first, second])
    one, other = (np.searchsorted(np.sort(values), places, "right") / len(values) for values in (first, second))
    return np.abs(one - other).max()


def test_mixup_is_both_images_in_the_target_s_proportion(photos):
    images, _ = photos
    results, targets = mixed(images, np.arange(24), **MIXUP)
    share = shares(targets)[:, None, None, None]
    oracle = images * share + images[::-1].astype("float64") * (1 - share)
    np.testing.assert_allclose(results, oracle, atol=1e-3)
    assert results.dtype == np.float32
    assert len(np.unique(share)) == 24  # each draws for itself


def test_cutmix_is_a_box_of_the_other_image_with_its_true_area():
    images, labels = numbered(400, 9, 16)
    results, targets = mixed(images, labels, **CUTMIX)
    own = own_pixels(images, results)
    np.testing.assert_array_equal(results, np.where(own[..., None], images, images[::-1]))
    for rows, columns in (np.nonzero(~each) for each in own if not each.all()):
        assert len(rows) == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)  # a filled rectangle
    np.testing.assert_allclose(shares(targets), own.mean(axis=(1, 2)), atol=1e-6)


def test_the_box_keeps_the_image_s_proportions_where_no_edge_cuts_it():
    images, labels = numbered(1000, 20, 40)
    own = own_pixels(images, mixed(images, labels, **CUTMIX)[0])
    compared = 0
    for image in own:
        rows, columns = np.nonzero(~image)
        if len(rows) and rows.min() > 0 and rows.max() < 19 and columns.min() > 0 and columns.max() < 39:
            assert abs((np.ptp(columns) + 1) - 2 * (np.ptp(rows) + 1)) <= 2
            compared += 1
    assert compared > 100


@pytest.mark.parametrize("alpha", [0.2, 4.0])
def test_mixup_shares_are_beta_distributed(alpha):
    images, labels = numbered(3000, 1, 1)
    share = shares(mixed(images, labels, **{**MIXUP, "mixup_alpha": alpha})[1])
    assert same_distribution(share.round(5), np.random.default_rng(8).beta(alpha, alpha, 20000).round(5)) < 0.035


def test_boxes_are_as_large_and_where_the_paper_has_them():
    images, labels = numbered(3000, 12, 18)
    results, targets = mixed(images, labels, **{**CUTMIX, "cutmix_alpha": 0.5})
    paper = paper_boxes(0.5, 12, 18)
    kept = 1 - paper.mean(axis=(1, 2))
    assert same_distribution(shares(targets).round(4), kept.round(4)) < 0.035
    np.testing.assert_allclose((~own_pixels(images, results)).mean(axis=0), paper.mean(axis=0), atol=0.04)


def test_mix_rate_is_the_fraction_mixed_and_switch_rate_that_of_cutmix():
    images, labels = numbered(2000, 8, 8)
    for rate in (0.0, 0.3):
        results, targets = mixed(images, labels, **{**MIXUP, "mix_rate": rate})
        alone = shares(targets) == 1
        assert abs(alone.mean() - (1 - rate)) < 0.05
        np.testing.assert_array_equal(results[alone], images[alone])
        results, _ = mixed(images, labels, **{**DEIT, "mixup_alpha": 4.0, "switch_rate": rate})
        by_cutmix = np.isin(results, (0, 255)).all(axis=(1, 2, 3))
        assert abs(by_cutmix.mean() - rate) < 0.05


def test_targets_sum_to_1_and_name_the_two_classes_or_one_where_nothing_is_mixed(photos):
    images, labels = photos
    _, targets = mixed(images, labels, num_classes=7, **DEIT)
    assert (targets.shape, targets.dtype) == ((24, 7), np.float32)
    np.testing.assert_allclose(targets.sum(axis=1), 1, atol=1e-6)
    for target, label, other in zip(targets, labels, labels[::-1], strict=True):
        assert set(np.flatnonzero(target)) <= {label, other}
    results, targets = mixed(images, labels, **{**MIXUP, "mixup_alpha": 0.0})
    np.testing.assert_array_equal(results, images)
    np.testing.assert_array_equal(targets, np.eye(5)[labels])


def test_an_image_depends_on_its_partner_alone(photos):
    images, labels = photos
    others, other_labels = 255 - images, (labels + 1) % 5
    for kept in ([3, 20], [0, 23]):
        others[kept], other_labels[kept] = images[kept], labels[kept]
    for numbers in (DEIT, MIXUP, CUTMIX):
        first, second = (mixed(*pair, num_classes=5, **numbers) for pair in ((images, labels), (others, other_labels)))
        for before, after in zip(first, second, strict=True):
            assert before[[0, 3, 20, 23]].tobytes() == after[[0, 3, 20, 23]].tobytes()


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(photos):
    first, second, other = (mixed(*photos, seed=seed, **DEIT) for seed in ((1, 2), (1, 2), (1, 3)))
    assert all(one.tobytes() == two.tobytes() for one, two in zip(first, second, strict=True))
    assert all(one.tobytes() != two.tobytes() for one, two in zip(first, other, strict=True))


@pytest.mark.parametrize("alpha", [1e-3, 100.0])
def test_extreme_alphas_give_numbers(photos, alpha):
    for numbers in ({**MIXUP, "mixup_alpha": alpha}, {**CUTMIX, "cutmix_alpha": alpha}):
        results, targets = mixed(*photos, **numbers)
        assert np.isfinite(results).all()
        np.testing.assert_allclose(targets.sum(axis=1), 1, atol=1e-6)


def test_it_works_inside_tf_data_with_static_shapes_and_gives_the_same_there(photos):
    import tensorflow as tf

    images, labels = photos
    seed = tf.constant([4, 5], tf.int64)
    dataset = tf.data.Dataset.from_tensors((images, labels)).map(
        lambda pixels, numbers: mix(pixels, numbers, num_classes=5, seed=seed, **DEIT)
    )
    assert [tuple(spec.shape) for spec in dataset.element_spec] == [(24, 10, 14, 3), (24, 5)]
    ((inside, targets),) = dataset
    outside = mixed(images, labels, num_classes=5, seed=(4, 5), **DEIT)
    np.testing.assert_allclose(inside, outside[0], atol=1e-3)
    np.testing.assert_allclose(targets, outside[1], atol=1e-6)


@pytest.mark.parametrize("targets", [[[1, 1, 0], [0, 1, 0], [0, 0, 0], [1, 0, 1]], [[20.5], [-3.0], [0.0], [7.25]]])
def test_rows_of_several_labels_or_numbers_are_mixed_like_the_images(targets):
    import tensorflow as tf

    targets = np.array(targets, "float32")
    images = np.broadcast_to(np.arange(4, dtype="float32")[:, None, None, None] * 50, (4, 8, 8, 3))
    mixed, found = mix(
        tf.constant(images), tf.constant(targets), num_classes=targets.shape[1], seed=tf.constant([1, 2], tf.int64),
        mixup_alpha=1.0, cutmix_alpha=0.0, mix_rate=1.0, switch_rate=0.5,
    )  # fmt: skip
    partner = images[::-1, 0, 0, 0]
    share = (mixed.numpy()[:, 0, 0, 0] - partner) / (images[:, 0, 0, 0] - partner)
    expected = share[:, None] * targets + (1 - share[:, None]) * targets[::-1]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4, atol=1e-4)
