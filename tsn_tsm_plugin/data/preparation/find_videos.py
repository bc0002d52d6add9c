"""VideoFiles, FrameFolders: find the files or folders of annotated videos."""

from collections.abc import Iterable
from pathlib import Path

from tsn_tsm_plugin.data.video_files import videos_below


class VideoFiles:
    """Find video files by name without suffix, in any folder below a folder.

    Args:
        folder: Folder of the videos, searched once.
    """

    def __init__(self, folder: Path) -> None:
        self._by_path: dict[str, str] = {}
        self._by_stem: dict[str, str | None] = {}
        for video in videos_below(folder):
            path = video.relative_to(folder)
            self._by_path.setdefault(path.with_suffix("").as_posix(), path.as_posix())
            # Ambiguous stems can be found by relative path only.
            self._by_stem[path.stem] = None if path.stem in self._by_stem else path.as_posix()

    def find(self, names: Iterable[str]) -> str | None:
        """Return the path, relative to the folder, of the first name that exists."""
        for name in names:
            if found := self._by_path.get(name) or self._by_stem.get(name):
                return found
        return None


class FrameFolders:
    """Find folders of frames directly below a folder.

    Args:
        folder: Folder that contains one folder for each video.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, names: Iterable[str]) -> str | None:
        """Return the first name that is a folder."""
        return next((name for name in names if (self._folder / name).is_dir()), None)
