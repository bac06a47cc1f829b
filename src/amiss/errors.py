"""Every error amiss raises on purpose, on one page.

Each message is one sentence that says what was wrong, with which file or value, and what to do.
"""


class AmissError(Exception):
    """Base of all errors that amiss raises on purpose; the command line prints it and exits with 1.

    Attributes:
        told: a JSON document that was begun before the error already holds it.
    """

    told = False


class UsageError(AmissError, ValueError):
    """A setting, an argument or an input specification that cannot be meant; the command line exits with 2."""


class DataError(AmissError, ValueError):
    """Images that cannot be read, or that do not fit what is asked of them."""


class MaskShapeError(DataError):
    """A mask whose shape says that it belongs to another image."""


class MissingDataError(DataError, FileNotFoundError):
    """A known data set is neither on disk nor could it be fetched; the message says where to put it."""


class WriteError(AmissError, OSError):
    """A file cannot be written where it was asked for."""


class ServiceError(AmissError, OSError):
    """The service cannot be started: an address that cannot be listened on, a history that cannot be opened."""


class ModelFileError(AmissError, ValueError):
    """A model file that is cut, tampered with, foreign, or written by a newer version."""


class MissingExtraError(AmissError, ImportError):
    """A part of amiss was asked for whose optional dependencies are not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs the extra '{extra}'; install it with: pip install 'amiss[{extra}]'")
        self.extra = extra


class NotFittedError(AmissError, AttributeError):
    """A detector was asked to score before it was fitted or loaded."""


class TrainingError(AmissError, RuntimeError):
    """Training cannot go on (a non-finite loss, a changed resume); the message names the cure."""


class NoMapError(AmissError, NotImplementedError):
    """The method answers once for the whole image and has no anomaly map."""


class DegenerateTrainingWarning(UserWarning):
    """Training ended, but looks wrong (a collapsed centre, an adversary that wins); the message names the cure."""
