"""Keras' loops on JAX with batches that the devices can't share equally, such as the last one of a data set."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import keras

from vit_keras.distributed.cluster import process_count
from vit_keras.errors import InvalidArgumentError


@contextmanager
def allow_uneven_batches() -> Iterator[None]:
    """Makes Keras' loops inside the block accept batches of any size under a distribution on JAX, where Keras raises an error.

    A batch that the devices can't share is computed whole by each of them: the result is that of one device.
    """
    if keras.backend.backend() != "jax" or keras.distribution.distribution() is None:
        yield
        return
    from keras.src.backend.jax import distribution_lib

    place = distribution_lib.distribute_data_input

    def place_any(batch: Any, layout: Any, batch_dim_name: str) -> Any:
        return place(batch, _fit_layout(batch, layout, batch_dim_name), batch_dim_name)

    distribution_lib.distribute_data_input = place_any
    try:
        yield
    finally:
        distribution_lib.distribute_data_input = place


def _fit_layout(batch: Any, layout: Any, axis: str) -> Any:
    """Returns a layout that the rows of a batch fit: the given one, or one that has all rows on every device."""
    jax: Any = import_module("jax")
    sharding = getattr(layout, "backend_layout", layout)
    if batch is None or not isinstance(sharding, jax.sharding.NamedSharding):
        return layout
    processes, rows = process_count(), batch.shape[0]
    parts = max(1, sharding.mesh.shape[axis] // processes)
    if rows % parts == 0:
        return layout
    if processes > 1:
        raise InvalidArgumentError(
            f"A batch of {rows} images per process can't be shared equally by the {parts} devices of a process: use a multiple of {parts}, "
            "and leave out the incomplete last batch. vk.evaluate and vk.predict take any number of images."
        )
    whole = jax.sharding.PartitionSpec()
    return jax.sharding.NamedSharding(sharding.mesh, whole)


def replicate(outputs: Any) -> Any:
    """Returns the outputs of a step with all rows on every device, inside a compiled function; without several processes unchanged.

    A process can only read what its own devices hold.
    """
    distribution = keras.distribution.distribution()
    if distribution is None or process_count() == 1:
        return outputs
    mesh = distribution.device_mesh
    return keras.tree.map_structure(
        lambda each: keras.distribution.distribute_tensor(
            each, keras.distribution.TensorLayout([None] * len(each.shape), mesh)
        ),
        outputs,
    )
