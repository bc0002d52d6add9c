"""Annotations, AnnotatedVideo, VideoFiles, mirror_pairs: classes, labelled videos and their files."""

import csv
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from tsn_tsm_plugin.data.annotations import read_text_lines
from tsn_tsm_plugin.data.video_files import files_below, videos_below
from tsn_tsm_plugin.errors import AnnotationError

_LEFT_RIGHT = {"left": "right", "right": "left", "Left": "Right", "Right": "Left"}
_TURNS = {
    "clockwise": "counterclockwise",
    "counterclockwise": "clockwise",
    "Clockwise": "Counterclockwise",
    "Counterclockwise": "Clockwise",
}


class AnnotatedVideo(NamedTuple):
    """A video in annotations.

    Attributes:
        names: Possible paths below the folder of the videos, without suffix, most likely first.
        label: Class of the video.
    """

    names: tuple[str, ...]
    label: int


class Annotations(NamedTuple):
    """Content of the annotation files of a dataset.

    Attributes:
        class_names: Name of each label.
        splits: Videos of ``"train"``, ``"val"`` and, if labels exist, ``"test"``.
    """

    class_names: list[str]
    splits: dict[str, list[AnnotatedVideo]]


def find_files(folder: Path, pattern: str) -> list[Path]:
    """Return the sorted files in or below a folder with matching names; skip system files."""
    return sorted(path for path in files_below(folder) if path.match(pattern))


def find_file(folder: Path, *names: str) -> Path:
    """Return the first of ``names`` that exists in or below ``folder``.

    Raises:
        AnnotationError: If none of the files exists.
    """
    for name in names:
        if found := find_files(folder, name):
            return found[0]
    raise AnnotationError(
        f"{folder}: must hold {' or '.join(names)}, as the dataset is distributed. Check --annotations."
    )


def read_lines(path: Path) -> list[tuple[int, str]]:
    """Return the non-blank lines of a file, each with its number from 1."""
    lines = enumerate(read_text_lines(str(path)), start=1)
    return [(number, line.strip()) for number, line in lines if line.strip()]


def read_table(path: Path, columns: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """Return the rows of a CSV file with a header, each with its line number.

    Raises:
        AnnotationError: If a column is missing.
    """
    reader = csv.DictReader(read_text_lines(str(path)))
    missing = [column for column in columns if column not in (reader.fieldnames or ())]
    if missing:
        raise AnnotationError(f"{path}:1: must have the columns {', '.join(columns)}; {missing} are missing.")
    return [(reader.line_num, {key: value or "" for key, value in row.items() if key}) for row in reader]


def label_of(name: str, labels: dict[str, int], location: str) -> int:
    """Return the label of a class name.

    Raises:
        AnnotationError: If there is no such class; the message starts with ``location``, the file and line.
    """
    if name not in labels:
        raise AnnotationError(f"{location}: label {name!r} is not among the {len(labels)} classes.")
    return labels[name]


def numbered(names: Iterable[str]) -> dict[str, int]:
    """Return the label of each name: its position."""
    return {name: label for label, name in enumerate(names)}


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
        found = (self._by_path.get(name) or self._by_stem.get(name) for name in names)
        return next(filter(None, found), None)


def mirror_pairs(class_names: Sequence[str]) -> list[tuple[int, int]]:
    """Return the pairs of labels with names that differ only in left and right, in ascending order.

    MMAction2 swaps the same pairs for Something-Something V1 and V2 and Jester.
    """
    return _pairs(class_names, _LEFT_RIGHT)


def turn_pairs(class_names: Sequence[str]) -> list[tuple[int, int]]:
    """Return the pairs of labels with names that differ only in clockwise and counterclockwise.

    A flip exchanges these classes too, but MMAction2 does not swap them.
    """
    return _pairs(class_names, _TURNS)


def _pairs(class_names: Sequence[str], words: dict[str, str]) -> list[tuple[int, int]]:
    pattern = re.compile(rf"\b({'|'.join(words)})\b")
    labels = numbered(class_names)
    pairs = []
    for name, label in labels.items():
        mirrored = labels.get(pattern.sub(lambda match: words[match.group()], name), label)
        if label < mirrored:
            pairs.append((label, mirrored))
    return sorted(pairs)
