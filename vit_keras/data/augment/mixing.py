"""MixUp and CutMix: combine two images of a batch, and their targets."""

from typing import TYPE_CHECKING

from vit_keras.data.augment.batch_rows import BatchRows, whole_batch

if TYPE_CHECKING:
    import tensorflow as tf


def mix(
    images: "tf.Tensor",
    labels: "tf.Tensor",
    *,
    num_classes: int,
    seed: "tf.Tensor",
    mixup_alpha: float,
    cutmix_alpha: float,
    mix_rate: float,
    switch_rate: float,
    rows: BatchRows | None = None,
) -> tuple["tf.Tensor", "tf.Tensor"]:
    """Mixes each image with its partner, image i with image `batch - 1 - i`, and their targets in the same proportion.

    Whether and how an image is mixed, and its share, are drawn per image; the options are those of `Augmentation`. Papers: MixUp,
    Zhang et al. 2018, arXiv 1710.09412; CutMix, Yun et al. 2019, arXiv 1905.04899. CutMix's share is the area of the box after
    clipping to the image. With `rows`, images and labels are those of its `places`, and the results those of this process. Labels `(batch,)` become shares of the classes, which sum to 1 per image; rows `(batch, num_classes)` of 0 and
    1, or of numbers, are mixed as they are. Returns float32 images 0..255, and targets `(batch, num_classes)`.
    """
    import tensorflow as tf

    count, height, width, _ = images.shape
    rows = rows or whole_batch(count)
    images = tf.cast(images, tf.float32)

    def fold_in(number: int) -> "tf.Tensor":
        return tf.random.experimental.stateless_fold_in(tf.cast(seed, tf.int32), 1000 + number)

    def uniform(number: int) -> "tf.Tensor":
        return rows.take_own(tf.random.stateless_uniform((rows.batch_size,), fold_in(number)))

    def beta(number: int, alpha: float) -> "tf.Tensor":
        one, other = (
            rows.take_own(tf.random.stateless_gamma((rows.batch_size,), fold_in(number + part), alpha))
            for part in (0, 1)
        )
        # For a small alpha both may be TensorFlow's smallest number; then the share is 0 or 1.
        return tf.where(one != other, one / (one + other), tf.round(uniform(number + 6)))

    own_count = rows.stop - rows.start
    cuts = uniform(0) < switch_rate if mixup_alpha and cutmix_alpha else tf.fill((own_count,), bool(cutmix_alpha))
    share = tf.where(cuts, beta(2, cutmix_alpha or 1.0), beta(4, mixup_alpha or 1.0))
    share = tf.where(uniform(1) < mix_rate, share, 1.0) if mixup_alpha or cutmix_alpha else tf.ones((own_count,))

    # CutMix: a box with the partner's share of the area, its center anywhere in the image, clipped to the image.
    def inside(side: int, center: "tf.Tensor") -> "tf.Tensor":
        length = tf.floor(tf.sqrt(1 - share) * side)
        start = tf.floor(center * side) - tf.floor(length / 2)
        places = tf.range(side, dtype=tf.float32)
        return (places >= start[:, None]) & (places < (start + length)[:, None])

    box = inside(height, uniform(6))[:, :, None] & inside(width, uniform(7))[:, None, :]
    seen = 1 - tf.reduce_mean(tf.cast(box, tf.float32), axis=(1, 2))
    share = tf.where(cuts, seen, share)
    own = tf.where(cuts[:, None, None], 1 - tf.cast(box, tf.float32), share[:, None, None])[..., None]
    targets = tf.one_hot(labels, num_classes) if len(labels.shape) == 1 else labels
    images, partners = rows.pair(images)
    targets, partner_targets = rows.pair(targets)
    return images * own + partners * (1 - own), targets * share[:, None] + partner_targets * (1 - share[:, None])
