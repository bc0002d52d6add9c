"""TsnTsmError and its subclasses: user errors. Each message names the thing, rule, value and remedy."""


class TsnTsmError(Exception):
    """Base class of every error of this project that a user can correct."""


class ConfigError(TsnTsmError, ValueError):
    """A recipe or an override breaks the schema or a rule across keys; the message lists every fault."""


class UnknownComponentError(TsnTsmError, LookupError):
    """A name is not registered; the message gives the nearest names and the command that lists all names."""


class PluginError(TsnTsmError, ImportError):
    """A component's distribution fails to import, or two distributions claim one name."""


class CheckpointError(TsnTsmError, RuntimeError):
    """A checkpoint is unreadable or belongs to another model; none of its tensors has been loaded."""


class NewerCheckpointError(CheckpointError):
    """A newer version of this library wrote a checkpoint; the undamaged file is never overwritten."""


class VideoError(TsnTsmError, RuntimeError):
    """A video cannot be opened or a frame cannot be decoded; the message starts with the path."""


class AnnotationError(TsnTsmError, ValueError):
    """A list file or label map is malformed; the message gives file, line and the expected form."""


class RunFolderError(TsnTsmError, RuntimeError):
    """A run folder cannot be written, is full, or belongs to another run; earlier files are kept."""


class DivergedError(TsnTsmError, RuntimeError):
    """The loss is not finite; the message names the videos of the last batch."""


class UnknownHostNameError(UnknownComponentError, NotImplementedError):
    """PyTorchVideo and this package do not know a name; a NotImplementedError, as PyTorchVideo raises."""


class LoaderError(TsnTsmError, RuntimeError):
    """No batch comes, or a worker of the data loader has died; the message names the likely reason."""


def first_line(error: object) -> str:
    """Return the first line of an error or of another reason; the type if there is no text."""
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
