"""A look at the first batch that a model is given, which later batches pay nothing for."""

import itertools
from collections.abc import Callable
from typing import Any

import keras


def look_first(
    function: Callable[..., Any],
    look: Callable[[Any], None],
    *,
    needed: Callable[[Any], bool],
    done: Callable[[], None],
    steps: int,
) -> Callable[..., Any]:
    """Returns a step function of Keras that looks at the first batch before it does what it did.

    Args:
        function: What `make_train_function` and its likes make: of an iterator of batches, or of batches, behind the state on JAX.
        look: Called with the first batch.
        needed: Whether a look is needed at batches of such shapes and dtypes, by a batch or its specification.
        done: Called before the first call goes on; it may put the function itself in its place.
        steps: Batches that a call takes from an iterator.
    """
    waiting = [True]

    def first(*arguments: Any) -> Any:
        *state, batches = arguments
        if waiting:
            waiting.clear()
            done()
            batches = _looked_at(batches, look, needed, steps)
        return function(*state, batches)

    return first


def _looked_at(batches: Any, look: Callable[[Any], None], needed: Callable[[Any], bool], steps: int) -> Any:
    """Returns the same batches, the first one looked at."""
    if isinstance(batches, list | tuple):
        if needed(batches[0]):
            look(batches[0])
        return batches
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        if isinstance(batches, tf.data.Iterator | tf.distribute.DistributedIterator):
            return _replayed(batches, look, needed, steps)
    for batch in batches:
        if needed(batch):
            look(batch)
        return itertools.chain([batch], batches)
    return iter(())


def _replayed(iterator: Any, look: Callable[[Any], None], needed: Callable[[Any], bool], steps: int) -> Any:
    """Returns an iterator of the same type over a call's batches, so that nothing is traced again; the iterator where it can't."""
    import tensorflow as tf

    specification = iterator.element_spec
    is_plain = all(isinstance(each, tf.TensorSpec) for each in tf.nest.flatten(specification))
    if not isinstance(iterator, tf.data.Iterator) or not is_plain or not needed(specification):
        return iterator
    rest = iter(iterator)
    first = next(rest, None)
    if first is None:
        return iterator
    look(first)
    # No more than the call takes: TensorFlow may fetch ahead, and what it fetched would be lost to the calls after.
    of_call = itertools.islice(itertools.chain([first], rest), steps)
    again = tf.data.Dataset.from_generator(lambda: of_call, output_signature=specification)
    return iter(again)
