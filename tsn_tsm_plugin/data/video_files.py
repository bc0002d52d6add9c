"""is_video, is_left_behind, files_below: recognise videos; skip hidden, unfinished or system files."""

import os
from collections.abc import Iterator
from pathlib import Path

# fmt: off
VIDEO_SUFFIXES = frozenset((
    ".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".ts",
    ".vob", ".webm", ".wmv", ".y4m",
))
# Names of folders and files that archivers, file managers, disks and network storage create.
_LEFT_BEHIND = frozenset((
    "$recycle.bin", "@eadir", "__macosx", "desktop.ini", "ehthumbs.db", "lost+found",
    "system volume information", "thumbs.db",
))
# fmt: on


def is_video(path: str | os.PathLike[str]) -> bool:
    """Return whether a file is a video, by its suffix."""
    return Path(path).suffix.lower() in VIDEO_SUFFIXES


def is_left_behind(name: str) -> bool:
    """Return whether a file or folder is hidden, unfinished or a system file, by its name."""
    return name.startswith(".") or name.lower() in _LEFT_BEHIND


def files_below(folder: Path) -> Iterator[Path]:
    """Yield sorted files; skip hidden, unfinished and system files; follow links, but visit a folder once."""
    seen = set()
    for root, folders, files in os.walk(folder, followlinks=True):
        here = os.path.realpath(root)
        is_new = here not in seen
        folders[:] = sorted(name for name in folders if is_new and not is_left_behind(name))
        yield from (Path(root, file) for file in sorted(files) if is_new and not is_left_behind(file))
        seen.add(here)


def videos_below(folder: Path) -> Iterator[Path]:
    """Yield the video files of `files_below`."""
    return filter(is_video, files_below(folder))
