"""Joins the processes of a launch, before anything else."""

from vit_keras.distributed.cluster import join
from vit_keras.distributed.launchers import find_cluster, find_tensorflow_workers
from vit_keras.errors import ClusterError


def join_launch() -> None:
    """Joins the other processes that a launcher started with this one; does nothing where there are none.

    `vk.train` and its like do it by themselves. Call it first of all in a program that builds models before it trains them.

    Raises:
        ClusterError: The backend can't train in several processes, or they can't be joined.
    """
    import keras  # here, so that this can be the first import of a program: see `vit_keras.registration`

    backend, cluster = keras.backend.backend(), find_cluster()
    workers = find_tensorflow_workers() if backend == "tensorflow" else 0
    if workers > 1 or (cluster is not None and backend != "jax"):
        found = (
            f"TF_CONFIG names {workers} workers"
            if cluster is None
            else (f"{cluster.launcher} started {cluster.num_processes} processes")
        )
        raise ClusterError(
            f"{found}, and Keras trains in several processes with JAX only: set KERAS_BACKEND=jax, which reads the same data and weights; "
            'or start one process, which uses all devices of its machine. To start separate runs, give each distribution="none".'
        )
    if cluster is not None:
        join(cluster)
