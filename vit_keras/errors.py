"""Exceptions: one base, each also the built-in kind that a caller expects.

`exit_code` is the command line's exit code for the error.
"""


class VitKerasError(Exception):
    """Base of every error that this library raises on purpose; the message says how to fix it."""

    exit_code = 1


class InvalidArgumentError(VitKerasError, ValueError):
    """An argument or a configuration is not legal."""

    exit_code = 2


class DataError(VitKerasError, ValueError):
    """Images, labels or a data source can't be used."""

    exit_code = 3


class EmptyDatasetError(DataError):
    """A data source has no images."""


class ClassLayoutError(DataError):
    """Folders or rows don't form classes: only one class, colliding names, or a class that the training split lacks."""


class LabelError(DataError):
    """Labels are not indices of the class names."""


class TooManyBadFilesError(DataError):
    """More files than allowed can't be used."""


class CorruptFileError(VitKerasError, OSError):
    """A file is damaged, truncated or not of the type that its name says."""

    exit_code = 4


class UnsafeFileError(VitKerasError, ValueError):
    """A file could run code, reach other files or exhaust memory when read; it was not read."""

    exit_code = 4


class WeightMismatchError(VitKerasError, ValueError):
    """Weights don't fit the model."""

    exit_code = 4


class VerificationError(VitKerasError, RuntimeError):
    """An exported file does not compute what the model does; it was not kept."""

    exit_code = 4


class StorageError(VitKerasError, OSError):
    """A path can't be read or written, or exists already."""

    exit_code = 6


class TrainingDivergedError(VitKerasError, ArithmeticError):
    """The loss of a training run became NaN or infinite."""

    exit_code = 5


class ClusterError(VitKerasError, RuntimeError):
    """The devices or processes of a training run can't work together."""

    exit_code = 2


class ResumeError(VitKerasError, RuntimeError):
    """A run can't be resumed."""

    exit_code = 2


class CheckpointCorruptError(ResumeError):
    """All checkpoints of a run are damaged."""

    exit_code = 6


class RunLockedError(VitKerasError, RuntimeError):
    """Another process uses the run directory."""

    exit_code = 6


class OutOfMemoryError(VitKerasError, MemoryError):
    """A training step does not fit in memory, even with the smallest micro-batch."""

    exit_code = 7


class NoCompletedTrialError(VitKerasError, RuntimeError):
    """No trial of a search completed."""

    exit_code = 5
