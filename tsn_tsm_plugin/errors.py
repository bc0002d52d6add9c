"""The errors a user can cause. Each message names the thing, the rule, the value and the cure."""


class ConfigError(ValueError):
    """A recipe or an override breaks the schema or a rule across keys; lists every fault at once."""


class UnknownComponentError(LookupError):
    """A name is not registered; the message lists the nearest names and how to see them all."""


class PluginError(ImportError):
    """A component's distribution fails to import, or two distributions claim one name."""


class CheckpointError(RuntimeError):
    """A checkpoint is unreadable or belongs to another model; nothing of it has been loaded."""


class VideoError(RuntimeError):
    """A video cannot be opened or a frame of it cannot be decoded; the message starts with the path."""


class AnnotationError(ValueError):
    """A list file or label map is malformed; the message gives file, line and the expected form."""


class RunFolderError(RuntimeError):
    """A run folder cannot be written, is full, or belongs to another run; what was saved before stays."""


class DivergedError(RuntimeError):
    """The loss is no longer a number; the message names the videos of the last batch."""
