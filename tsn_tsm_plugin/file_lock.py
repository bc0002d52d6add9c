"""lock_file: a lock that the system releases when the process ends, even if it is killed."""

import errno
import os
from typing import IO, Any

from tsn_tsm_plugin.log import get_logger

logger = get_logger(__name__)

# Errors of file systems without locks: Lustre without flock, NFS without lockd.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


def lock_file(file: IO[Any], *, wait: bool) -> None:
    """Lock a file for this process until it is closed.

    A record lock belongs to the process, so loader workers that outlive the process do not keep the lock.
    Without record locks, on Windows and some file systems, log a warning and leave the file unlocked.

    Args:
        file: File that is open for writing.
        wait: Whether to wait until no other process holds the lock, instead of raising an error.

    Raises:
        OSError: If another process holds the lock.
    """
    try:
        import fcntl
    except ImportError:
        _warn(file, "this system has no POSIX file locks")
        return
    try:
        fcntl.lockf(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        _warn(file, f"its file system has no locks ({os.strerror(error.errno)})")


def _warn(file: IO[Any], reason: str) -> None:
    logger.warning(
        f"{file.name} is not locked, because {reason}. Let one process at a time write into its folder."
    )
