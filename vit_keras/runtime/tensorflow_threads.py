"""How TensorFlow uses the cores of a CPU: one operation after the other on all cores, or several at the same time on one core each."""

import os

MOST_CORES = 4
"""Two were measured. The more cores there are, the fewer images each gets of a batch, and a convolutional stem runs on one."""


def prefer_parallel_operations() -> None:
    """Gives each operation of this process one core, and runs as many operations at the same time as there are cores.

    It is faster where steps are divided (`models/batch_parts.py`), and slower for single images. Nothing changes where the user chose
    numbers of threads, TensorFlow has started, there is an accelerator, or the number of cores is 1 or above `MOST_CORES`.
    """
    import keras

    if keras.backend.backend() != "tensorflow" or not 1 < count_cores() <= MOST_CORES:
        return
    import tensorflow as tf

    if _num_threads("intra") or _num_threads("inter") or tf.config.list_physical_devices("GPU"):
        return
    try:
        tf.config.threading.set_inter_op_parallelism_threads(count_cores())
        tf.config.threading.set_intra_op_parallelism_threads(1)
    except RuntimeError:  # TensorFlow has started
        return


def count_parallel_operations() -> int:
    """Returns how many operations of one core each TensorFlow runs at the same time; 1 where an operation may use several cores."""
    import keras

    if keras.backend.backend() != "tensorflow":
        return 1
    return max(1, _num_threads("inter")) if _num_threads("intra") == 1 else 1


def count_cores() -> int:
    """Returns the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _num_threads(kind: str) -> int:
    """Returns the number of threads that was chosen, in the program or by TensorFlow's environment variable; 0 for none."""
    import tensorflow as tf

    chosen: int = getattr(tf.config.threading, f"get_{kind}_op_parallelism_threads")()
    variable = os.environ.get(f"TF_NUM_{kind.upper()}OP_THREADS", "")
    return chosen or (int(variable) if variable.isdecimal() else 0)
