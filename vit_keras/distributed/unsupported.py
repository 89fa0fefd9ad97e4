"""Refuses what Keras does wrongly in several processes: silently on torch, with an error that says nothing of it on TensorFlow."""

import keras

from vit_keras.errors import ClusterError


def check_loop(model: keras.Model, loop: str) -> None:
    """Raises `ClusterError` where a method of Keras' models, such as "fit", can't work in several processes."""
    if loop.startswith("predict"):  # which computes all rows in each process
        return
    if keras.backend.backend() == "tensorflow":
        _check_workers(model)
    if keras.backend.backend() == "torch" and not loop.startswith(("evaluate", "test")):
        check_torch_group()


def check_torch_group() -> None:
    """Raises `ClusterError` in one of several processes of a torch process group."""
    from torch import distributed

    if distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1:
        raise ClusterError(
            f"This is one of {distributed.get_world_size()} processes of a torch process group, and Keras on torch would train another "
            "model in each of them: set KERAS_BACKEND=jax, which trains one model in all of them; or write the training loop with "
            "torch.nn.parallel.DistributedDataParallel, as docs/scale.md shows."
        )


def _check_workers(model: keras.Model) -> None:
    import tensorflow as tf

    strategy = model.distribute_strategy
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return
    if strategy.num_replicas_in_sync > len(strategy.extended.worker_devices):
        raise ClusterError(
            "Keras' fit and evaluate fail under tf.distribute.MultiWorkerMirroredStrategy: set KERAS_BACKEND=jax, which trains on several "
            "hosts with the same data and weights; or use tf.distribute.MirroredStrategy, on the devices of one host."
        )
