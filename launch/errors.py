"""LaunchError and the exit codes of the launcher."""

from tsn_tsm_plugin.errors import TsnTsmError


class LaunchError(TsnTsmError):
    """A user error that is found before anything is submitted; the command ends with exit code 2."""


# Exit codes of the command. DETACHED: the user stopped waiting; the job continues.
OK, FAILED, USER_ERROR, CANCELLED, DETACHED = 0, 1, 2, 3, 4
