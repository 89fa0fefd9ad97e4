"""What goes wrong, as exceptions: one base, each also the built-in kind a caller expects.

`exit_code` is what the command line exits with when the error reaches it.
"""


class VitKerasError(Exception):
    """Anything this library refuses or cannot do, with the way out in its message."""

    exit_code = 1


class InvalidArgumentError(VitKerasError, ValueError):
    """An argument or a configuration that is not legal."""

    exit_code = 2


class DataError(VitKerasError, ValueError):
    """Images, labels or a data source that cannot be used."""

    exit_code = 3


class EmptyDatasetError(DataError):
    """A data source without a single image."""


class ClassLayoutError(DataError):
    """Folders or rows that make no set of classes: one alone, names that collide, a class that training lacks."""


class LabelError(DataError):
    """Labels that are no index into the class names."""


class TooManyBadFilesError(DataError):
    """Too many images that cannot be used to go on without a word."""


class CorruptFileError(VitKerasError, OSError):
    """A file that is damaged, truncated or not what its name says."""

    exit_code = 4


class UnsafeFileError(VitKerasError, ValueError):
    """A file that could run code, reach other files or fill the memory when it is read; nothing of it was."""

    exit_code = 4


class WeightMismatchError(VitKerasError, ValueError):
    """Weights that do not belong to the model."""

    exit_code = 4


class StorageError(VitKerasError, OSError):
    """A path that cannot be read or written, or that is occupied."""

    exit_code = 6


class TrainingDivergedError(VitKerasError, ArithmeticError):
    """A training run whose loss is no number any more."""

    exit_code = 5


class ResumeError(VitKerasError, RuntimeError):
    """A run that cannot go on where it stopped."""

    exit_code = 2


class CheckpointCorruptError(ResumeError):
    """A run whose checkpoints are all damaged."""

    exit_code = 6


class RunLockedError(VitKerasError, RuntimeError):
    """A directory that another process is at work in."""

    exit_code = 6


class OutOfMemoryError(VitKerasError, MemoryError):
    """A step for which there is no memory, however small its part of a batch."""

    exit_code = 7


class NoCompletedTrialError(VitKerasError, RuntimeError):
    """A search of which no trial got to its end."""

    exit_code = 5
