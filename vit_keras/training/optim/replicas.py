"""Several devices that share each batch, where each of them sees its part alone: TensorFlow's strategies. On JAX each sees the whole."""

from collections.abc import Sequence

import keras

from vit_keras.layers.base.checks import Tensor


def replica_count() -> int:
    """Returns how many devices share a batch under the `tf.distribute.Strategy` that is in scope; 1 without.

    Example:
        >>> replica_count()
        1
    """
    if keras.backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    count: int = tf.distribute.get_strategy().num_replicas_in_sync
    return count


def summed(gradients: Sequence[Tensor]) -> Sequence[Tensor]:
    """Returns the sum of what all devices that share a batch have for gradients.

    Args:
        gradients: Of this device.

    Example:
        >>> len(summed([keras.ops.ones(2)]))
        1
    """
    if replica_count() == 1:
        return gradients
    import tensorflow as tf

    together: list[Tensor] = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, list(gradients))
    return together
