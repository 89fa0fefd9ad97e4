"""Saving a model that several processes hold together: its weights are gathered by all, and written by one."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras

from vit_keras.distributed.arrays import to_numpy
from vit_keras.distributed.cluster import is_chief, process_count
from vit_keras.distributed.devices import distribution_scope
from vit_keras.distributed.shared_errors import share_errors


@contextmanager
def gather_weights(model: keras.Model) -> Iterator[bool]:
    """Yields whether this process writes the model's files; inside the block all its variables have their whole values.

    Of a model that is on the devices of several processes, the chief writes. Where each process has only parts of the weights, all
    processes must enter the block together, and leave it when the chief has written.
    """
    variables = [*model.variables, *(model.optimizer.variables if getattr(model, "optimizer", None) else ())]
    shared = [each for each in variables if process_count() > 1 and not each.value.is_fully_addressable]
    if not shared:
        yield True
        return
    divided = [each for each in shared if not each.value.is_fully_replicated]
    parts = [each.value for each in divided]
    for variable in divided:
        variable._value = to_numpy(variable)
    try:
        # Keras makes variables as it saves, which under a distribution all processes would have to make.
        with distribution_scope(None), share_errors(together=bool(divided)):
            yield is_chief()
    finally:
        for variable, part in zip(divided, parts, strict=True):
            variable._value = part
