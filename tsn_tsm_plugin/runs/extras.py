"""warn_on_failure: failed plots, pages and tables do not end a run."""

import contextlib
from collections.abc import Iterator

from tsn_tsm_plugin.log import get_logger

logger = get_logger(__name__)


@contextlib.contextmanager
def warn_on_failure(what: object) -> Iterator[None]:
    """Turn any error of the block into one warning: a plot or page can be drawn again later.

    Args:
        what: Output of the block, the subject of the warning.
    """
    try:
        yield
    except Exception as error:  # Matplotlib, Pillow and TensorBoard raise many kinds of errors.
        reason = " ".join(str(error).split())[:300]
        logger.warning(f"{what} could not be made ({type(error).__name__}: {reason}); the run goes on.")
