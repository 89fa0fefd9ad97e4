"""The replicas of a batch on TensorFlow, where each device runs the step on its own rows; on JAX a step sees the whole batch."""

from collections.abc import Callable
from typing import Any

import keras


def count_replicas() -> int:
    """Returns how many devices share a batch under TensorFlow's strategy; on JAX each device sees the whole gradient."""
    if keras.backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    count: int = tf.distribute.get_strategy().num_replicas_in_sync
    return count


def draw_rows(draw: Callable[[Any], Any], num_rows: Any) -> Any:
    """Returns the random numbers of the rows that this replica has of a batch, which are those of a single device.

    Args:
        draw: Returns random numbers of so many rows; it draws the same on every replica.
        num_rows: Rows of this replica.
    """
    replicas = count_replicas()
    if replicas == 1:
        return draw(num_rows)
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    if context is None:  # outside a step
        return draw(num_rows)
    first = context.replica_id_in_sync_group * num_rows
    return draw(num_rows * replicas)[first : first + num_rows]
