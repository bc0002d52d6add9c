"""Where the videos that annotations name lie on the disk."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

# fmt: off
_SUFFIXES = frozenset((
    ".3gp", ".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".vob",
    ".webm", ".wmv", ".y4m",
))
# fmt: on


def is_video(path: str | os.PathLike[str]) -> bool:
    """Tell by its suffix whether a file is a video."""
    return Path(path).suffix.lower() in _SUFFIXES


def walk_videos(folder: Path) -> Iterator[Path]:
    """Yield the video files below a folder, sorted; links to folders are followed, each folder once."""
    seen = set()
    for root, folders, files in os.walk(folder, followlinks=True):
        here = os.path.realpath(root)
        folders[:] = [] if here in seen else sorted(folders)
        yield from (Path(root, file) for file in sorted(files) if here not in seen and is_video(file))
        seen.add(here)


class VideoFiles:
    """Finds video files below a folder by their names without suffix, whatever folders are in between.

    Args:
        folder: Walked once.
    """

    def __init__(self, folder: Path) -> None:
        self._by_path: dict[str, str] = {}
        self._by_stem: dict[str, str | None] = {}
        for video in walk_videos(folder):
            path = video.relative_to(folder)
            self._by_path.setdefault(path.with_suffix("").as_posix(), path.as_posix())
            # Two files of one name in different folders are told apart by their folders only.
            self._by_stem[path.stem] = None if path.stem in self._by_stem else path.as_posix()

    def find(self, names: Iterable[str]) -> str | None:
        """Return the path, below the folder, of the first name that is there."""
        for name in names:
            if found := self._by_path.get(name) or self._by_stem.get(name):
                return found
        return None


class FrameFolders:
    """Finds folders of frames right below a folder.

    Args:
        folder: Holds one folder for each video.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, names: Iterable[str]) -> str | None:
        """Return the first name that is a folder."""
        return next((name for name in names if (self._folder / name).is_dir()), None)
