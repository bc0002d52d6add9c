"""TsnTsmError and the errors a user can cause. Each message names the thing, rule, value and remedy."""


class TsnTsmError(Exception):
    """Base class of every error of this project that a user can correct."""


class ConfigError(TsnTsmError, ValueError):
    """A recipe or an override breaks the schema or a rule across keys; lists every fault at once."""


class UnknownComponentError(TsnTsmError, LookupError):
    """A name is not registered; the message lists the nearest names and how to see them all."""


class PluginError(TsnTsmError, ImportError):
    """A component's distribution fails to import, or two distributions claim one name."""


class CheckpointError(TsnTsmError, RuntimeError):
    """A checkpoint is unreadable or belongs to another model; nothing of it has been loaded."""


class NewerCheckpointError(CheckpointError):
    """A checkpoint of a newer version of this library: it is whole, and it is never written over."""


class VideoError(TsnTsmError, RuntimeError):
    """A video cannot be opened or a frame of it cannot be decoded; the message starts with the path."""


class AnnotationError(TsnTsmError, ValueError):
    """A list file or label map is malformed; the message gives file, line and the expected form."""


class RunFolderError(TsnTsmError, RuntimeError):
    """A run folder cannot be written, is full, or belongs to another run; what was saved before stays."""


class DivergedError(TsnTsmError, RuntimeError):
    """The loss is no longer a number; the message names the videos of the last batch."""


class UnknownHostNameError(UnknownComponentError, NotImplementedError):
    """A name that neither PyTorchVideo nor this package knows; PyTorchVideo's own error type, with names."""


class LoaderError(TsnTsmError, RuntimeError):
    """No batch comes, or a worker of the data loader has died; the message names the likely reason."""


def first_line(error: object) -> str:
    """Return the first line of an error, or of another reason; its type if it has no text."""
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
