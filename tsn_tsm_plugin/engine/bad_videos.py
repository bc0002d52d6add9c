"""BadVideos: count unreadable videos, list them in a file and bound their number."""

from collections.abc import Iterable
from pathlib import Path

from tsn_tsm_plugin.atomic_files import HINT_RUN, os_errors_as_run_folder_errors
from tsn_tsm_plugin.data.collate import BadVideo
from tsn_tsm_plugin.errors import VideoError
from tsn_tsm_plugin.log import get_logger
from tsn_tsm_plugin.runs.run_folder import kept_lines
from tsn_tsm_plugin.safe_text import terminal_text

logger = get_logger(__name__)


class BadVideos:
    """The unreadable videos that an epoch skipped.

    Args:
        path: File with one ``path<tab>reason`` line for each video; ``None`` writes no file.
        bound: ``DATA.MAX_BAD_VIDEOS``, the number of videos that an epoch may skip.
    """

    def __init__(self, path: Path | None, *, bound: int) -> None:
        self._path = path
        self._bound = bound
        self._in_epoch: set[str] = set()
        self._named: set[str] = set()
        if path is not None:
            self._named = {line.split("\t")[0] for line in kept_lines(path)}

    def start_epoch(self, counted: Iterable[str] = ()) -> None:
        """Start an epoch, or resume an epoch that has skipped the videos ``counted``."""
        self._in_epoch = set(counted)

    @property
    def counted(self) -> list[str]:
        """Paths of the videos skipped in this epoch, for the checkpoint."""
        return sorted(self._in_epoch)

    @property
    def count(self) -> int:
        """Number of videos skipped in this epoch."""
        return len(self._in_epoch)

    def add(self, videos: Iterable[BadVideo]) -> None:
        """Count videos once per epoch, and list each once in the file.

        Raises:
            VideoError: If the epoch skips more videos than the bound; the message names the last video.
        """
        for video in videos:
            self._in_epoch.add(video.path)
            shown = terminal_text(video.path)
            if shown not in self._named:
                self._named.add(shown)
                logger.warning(f"Skipped, unreadable: {video.path}: {video.reason}")
                if self._path is not None:
                    with (
                        os_errors_as_run_folder_errors(self._path, hint=HINT_RUN),
                        self._path.open("a", encoding="utf-8") as file,
                    ):
                        file.write(f"{shown}\t{terminal_text(' '.join(video.reason.split()))}\n")
            if self.count > self._bound:
                where = f" All are named in {self._path}." if self._path else ""
                raise VideoError(
                    f"{video.path}: {video.reason} That makes {self.count} unreadable videos in one epoch, "
                    f"more than DATA.MAX_BAD_VIDEOS = {self._bound} allows.{where} Repair or remove them, or "
                    "raise the bound."
                )
