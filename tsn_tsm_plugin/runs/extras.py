"""warn_on_failure: plots, pages and tables that fail cost a run nothing."""

import contextlib
from collections.abc import Iterator

from tsn_tsm_plugin.log import get_logger

logger = get_logger(__name__)


@contextlib.contextmanager
def warn_on_failure(what: object) -> Iterator[None]:
    """Turn any error of the block into one warning: what the block draws can be drawn again.

    Args:
        what: The thing that the block writes, the subject of the warning.
    """
    try:
        yield
    except Exception as error:  # Matplotlib, Pillow and TensorBoard raise all kinds.
        reason = " ".join(str(error).split())[:300]
        logger.warning(f"{what} could not be made ({type(error).__name__}: {reason}); the run goes on.")
