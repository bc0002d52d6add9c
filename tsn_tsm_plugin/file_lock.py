"""`lock_file`: a lock that the system takes back when the process ends, however it ends."""

from typing import IO, Any

from tsn_tsm_plugin.log import get_logger

logger = get_logger(__name__)


def lock_file(file: IO[Any], *, wait: bool) -> None:
    """Lock a file for this process until it is closed.

    The lock is a record lock: it belongs to the process, so loader workers that outlive it do not keep it.
    Windows has no such locks: there a warning is logged and the file stays unlocked.

    Args:
        file: Open for writing.
        wait: Whether to wait until no other process holds the lock; otherwise that is an error.

    Raises:
        OSError: If another process holds the lock, or the file system has no locks.
    """
    try:
        import fcntl
    except ImportError:
        logger.warning(
            f"{file.name} is not locked, because this system has no POSIX file locks. Let one process at a "
            "time write into its folder."
        )
        return
    fcntl.lockf(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
