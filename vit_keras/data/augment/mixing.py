"""MixUp and CutMix: two images of a batch, and their targets, become one."""

from typing import TYPE_CHECKING

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
) -> tuple["tf.Tensor", "tf.Tensor"]:
    """Returns each image mixed with the one as far from the batch's other end, and targets in the same proportion.

    Every image draws for itself whether and how it is mixed, and its share. Papers: MixUp, Zhang et al. 2018, arXiv 1710.09412;
    CutMix, Yun et al. 2019, arXiv 1905.04899, with the share taken from the pixels that are really there.

    Args:
        images: `(batch, height, width, channels)`, pixels 0..255; the shape is static.
        labels: `(batch,)`, whole numbers.
        num_classes: Width of the targets.
        seed: Two whole numbers that decide everything drawn.
        mixup_alpha: Both parameters of MixUp's Beta distribution; 0 for no MixUp.
        cutmix_alpha: Both parameters of CutMix's; 0 for no CutMix.
        mix_rate: Fraction of the images that are mixed.
        switch_rate: Fraction of those that are mixed by CutMix, where both are on.

    Returns:
        float32 images of the same shape, and targets `(batch, num_classes)`, float32, that sum to 1 an image.
    """
    import tensorflow as tf

    batch, height, width, _ = images.shape
    images = tf.cast(images, tf.float32)

    def drawn(number: int) -> "tf.Tensor":
        return tf.random.experimental.stateless_fold_in(tf.cast(seed, tf.int32), 1000 + number)

    def uniform(number: int) -> "tf.Tensor":
        return tf.random.stateless_uniform((batch,), drawn(number))

    def beta(number: int, alpha: float) -> "tf.Tensor":
        one, other = (tf.random.stateless_gamma((batch,), drawn(number + part), alpha) for part in (0, 1))
        # Of a small alpha both can be as small as TensorFlow lets them; then the share is all or nothing.
        return tf.where(one != other, one / (one + other), tf.round(uniform(number + 6)))

    cuts = uniform(0) < switch_rate if mixup_alpha and cutmix_alpha else tf.fill((batch,), bool(cutmix_alpha))
    share = tf.where(cuts, beta(2, cutmix_alpha or 1.0), beta(4, mixup_alpha or 1.0))
    share = tf.where(uniform(1) < mix_rate, share, 1.0) if mixup_alpha or cutmix_alpha else tf.ones((batch,))

    # CutMix: a box with the partner's share of the area, its middle anywhere, cut off where the image ends.
    def inside(side: int, middle: "tf.Tensor") -> "tf.Tensor":
        length = tf.floor(tf.sqrt(1 - share) * side)
        start = tf.floor(middle * side) - tf.floor(length / 2)
        places = tf.range(side, dtype=tf.float32)
        return (places >= start[:, None]) & (places < (start + length)[:, None])

    box = inside(height, uniform(6))[:, :, None] & inside(width, uniform(7))[:, None, :]
    seen = 1 - tf.reduce_mean(tf.cast(box, tf.float32), axis=(1, 2))
    share = tf.where(cuts, seen, share)
    own = tf.where(cuts[:, None, None], 1 - tf.cast(box, tf.float32), share[:, None, None])[..., None]
    targets = tf.one_hot(labels, num_classes)
    mixed = images * own + tf.reverse(images, [0]) * (1 - own)
    return mixed, targets * share[:, None] + tf.reverse(targets, [0]) * (1 - share[:, None])
