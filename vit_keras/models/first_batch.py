"""Shows the first batch of an iterator to a check, and gives back the same batches."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import keras


def check_first(
    batches: Any, check: Callable[[Any], None], *, is_worthwhile: Callable[[Any], bool], num_batches: int
) -> Any:
    """Calls `check` with the first batch and returns batches to use instead: the same ones.

    On TensorFlow, where a check takes a detour, `is_worthwhile` says first whether batches of an element spec need one.
    """
    if isinstance(batches, list | tuple):
        check(batches[0])
        return batches
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        if isinstance(batches, tf.data.Iterator | tf.distribute.DistributedIterator):
            spec = batches.element_spec
            is_plain = all(isinstance(each, tf.TensorSpec) for each in tf.nest.flatten(spec))
            if not isinstance(batches, tf.data.Iterator) or not is_plain or not is_worthwhile(spec):
                return batches
            # An iterator of the same type, so that nothing is traced again, and no longer than needed: TensorFlow prefetches.
            same = itertools.islice(_check_and_repeat(batches, check), num_batches)
            return iter(tf.data.Dataset.from_generator(lambda: same, output_signature=spec))
    return _check_and_repeat(iter(batches), check)


def _check_and_repeat(batches: Iterator[Any], check: Callable[[Any], None]) -> Iterator[Any]:
    first = list(itertools.islice(batches, 1))
    for batch in first:
        check(batch)
    return itertools.chain(first, batches)
