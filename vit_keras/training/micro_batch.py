"""The largest part of a batch that fits into memory: probed, then halved until it does, with the same batch in effect."""

import gc
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from vit_keras.errors import InvalidArgumentError, OutOfMemoryError, ProbeError
from vit_keras.layers.base.checks import check_positive

_KINDS = {"MemoryError", "OutOfMemoryError", "ResourceExhaustedError"}
_WORDS = (
    "resource_exhausted",
    "out of memory",
    "out_of_memory",
    "can't allocate memory",
    "failed to allocate",
    "alloc_failed",
    "memoryerror",
)
_KILLED = {4, 6, 7, 9, 11}  # SIGILL, SIGABRT, SIGBUS, SIGKILL, SIGSEGV: what an end of memory looks like
_SHELL = 128  # added to a signal's number by a shell
_LAST = 2000  # characters of a command's output in an error
_PLACE = "{micro_batch}"


class MicroBatch(NamedTuple):
    """A part of a batch, and how many of them make the batch."""

    size: int
    accumulation: int

    @property
    def optimizer_arguments(self) -> dict[str, int]:
        """What Keras' optimizers need to be told for an update a batch; a schedule of Keras' goes on counting the parts."""
        return {"gradient_accumulation_steps": self.accumulation} if self.accumulation > 1 else {}


def choose_micro_batch(try_step: Callable[[int], Any], batch_size: int) -> MicroBatch:
    """Returns the largest divisor of a batch with which a step can be done, and how many such parts make the batch.

    The gradient of a batch is the mean of its parts', so training is the same where no layer looks at other images of a batch.

    Args:
        try_step: Does a training step with so many images, or raises what the backend raises without memory for it. On a CPU
            TensorFlow ends the process instead: use `in_a_process`.
        batch_size: Images an update.

    Raises:
        InvalidArgumentError: `batch_size` is not a positive whole number.
        OutOfMemoryError: Not even one image fits.

    Example:
        >>> def try_step(size):
        ...     if size > 20:
        ...         raise MemoryError
        >>> choose_micro_batch(try_step, 40)
        MicroBatch(size=20, accumulation=2)
    """
    check_positive("choose_micro_batch", batch_size=batch_size)
    said = ""
    for size in range(batch_size, 0, -1):
        if batch_size % size:
            continue
        try:
            try_step(size)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            said = f"{type(error).__name__}: {error}".strip()[:200]
        else:
            return MicroBatch(size, batch_size // size)
        _free()  # outside the handler: the error holds on to what the step had made
    raise OutOfMemoryError(
        f'There is not even memory for a step with one image ({said}). Take a smaller model or images, remat="block", a narrower '
        "precision, or train fewer of the weights."
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of any backend says that there is no memory.

    Args:
        error: Such as `ResourceExhaustedError` of TensorFlow, `XlaRuntimeError` of JAX, `OutOfMemoryError` of torch.

    Example:
        >>> is_out_of_memory(MemoryError()), is_out_of_memory(RuntimeError("shapes differ"))
        (True, False)
    """
    if any(kind.__name__ in _KINDS for kind in type(error).__mro__):
        return True
    of_backend = isinstance(error, RuntimeError) or type(error).__module__.startswith(("tensorflow", "jax", "torch"))
    return of_backend and any(word in str(error).lower() for word in _WORDS)


def in_a_process(command: Sequence[str], *, timeout: float = 600) -> Callable[[int], None]:
    """Returns a step for `choose_micro_batch` that runs a command, whose end by a signal does not end us.

    Args:
        command: With `{micro_batch}` where the number goes. It ends with 0 where the step could be done, and by a signal, with the
            exit code of `OutOfMemoryError`, or with words of a backend about memory where it could not.
        timeout: Seconds a step may take, with the start of the process.

    Raises:
        InvalidArgumentError: The command has no place for the number.

    Example:
        >>> code = "import sys, os; os.kill(os.getpid(), 9) if int(sys.argv[1]) > 4 else None"
        >>> choose_micro_batch(in_a_process([sys.executable, "-c", code, "{micro_batch}"]), 16)
        MicroBatch(size=4, accumulation=4)
    """
    if not any(_PLACE in word for word in command):
        raise InvalidArgumentError(f"The command {list(command)} has no {_PLACE}, where the number of images goes.")

    def try_step(size: int) -> None:
        words = [word.replace(_PLACE, str(size)) for word in command]
        try:
            ended = subprocess.run(
                words,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise ProbeError(
                f"A step with {size} images took over {timeout} seconds; raise timeout if it may."
            ) from error
        except OSError as error:
            raise ProbeError(f"{words[0]}: could not be run ({error}).") from error
        if ended.returncode == 0:
            return
        said = (ended.stderr + ended.stdout)[-_LAST:].strip()
        number = -ended.returncode if ended.returncode < 0 else ended.returncode - _SHELL
        told = ended.returncode == OutOfMemoryError.exit_code or any(word in said.lower() for word in _WORDS)
        if number in _KILLED or told:
            raise OutOfMemoryError(f"A step with {size} images ended with code {ended.returncode}")
        raise ProbeError(
            f"A step with {size} images failed with code {ended.returncode}, not for memory: {said or 'no word'}"
        )

    return try_step


def _free() -> None:
    gc.collect()
    if "torch" in sys.modules:
        sys.modules["torch"].cuda.empty_cache()  # does nothing where there is no GPU
