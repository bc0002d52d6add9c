"""List files and label maps: what a dataset consists of, read strictly.

A list file holds one ``path label`` per line, as MMAction2 and Kinetics tools write it, or one
``folder number-of-frames label``, as MMAction2 and mit-han-lab's TSM do for extracted frames. A label map
holds one class name per line; the number of the line, from 0, is the label.
"""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tsn_tsm_plugin.data.paths import join, read_bytes
from tsn_tsm_plugin.errors import AnnotationError
from tsn_tsm_plugin.log import get_logger

logger = get_logger(__name__)

# Faults that one error spells out; the rest are counted.
_MAX_FAULTS = 10


class VideoEntry(NamedTuple):
    """One line of a list.

    Attributes:
        name: As written there.
        path: Where the file or folder lies.
        label: Its class.
        num_frames: How many frames the line promises; 0 where it does not say.
    """

    name: str
    path: str
    label: int
    num_frames: int = 0


class _ParsedLine(NamedTuple):
    name: str
    label: int
    num_frames: int


def _read_lines(path: str) -> list[str]:
    """Read a text file without byte order mark and line ends, or say what keeps it from being read."""
    try:
        text = read_bytes(path).decode("utf-8-sig")
        return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    except UnicodeDecodeError as error:
        raise AnnotationError(
            f"{path}: must be UTF-8 text, got byte {error.object[error.start]:#04x} at offset {error.start}. "
            "Convert the file to UTF-8."
        ) from error
    except OSError as error:
        raise AnnotationError(
            f"{path}: cannot be read ({error.strerror or error}). Check the path."
        ) from error


def _whole_number(text: str, what: str) -> int:
    try:
        number = int(text)
    except ValueError:
        raise ValueError(f"{what} must be an integer, got {text!r}") from None
    if number < 0:
        raise ValueError(f"{what} must not be negative, got {number}")
    return number


def _parse_line(line: str, separator: str, num_classes: int, has_frame_counts: bool) -> _ParsedLine:
    """Split one line at its last separators; raise ValueError with what is wrong with it."""
    fields = ["path", "frames", "label"] if has_frame_counts else ["path", "label"]
    parts = line.rsplit(separator if separator.strip() else None, maxsplit=len(fields) - 1)
    if len(parts) != len(fields) or not parts[0].strip():
        raise ValueError(f"must be '{separator.join(fields)}', got {line!r}")
    num_frames = _whole_number(parts[1], "number of frames") if has_frame_counts else 0
    label = _whole_number(parts[-1], "label")
    if num_classes and label >= num_classes:
        raise ValueError(f"label must be below the number of classes, {num_classes}, got {label}")
    return _ParsedLine(parts[0].strip(), label, num_frames)


def _parse_lines(
    lines: Sequence[str], separator: str, num_classes: int, has_frame_counts: bool
) -> Iterator[_ParsedLine | str]:
    """Yield what each line that is not blank says, or the fault found there."""
    first_seen: dict[str, tuple[int, int]] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            parsed = _parse_line(line, separator, num_classes, has_frame_counts)
        except ValueError as error:
            yield f"{number}: {error}"
            continue
        name, label, _ = parsed
        first_number, first_label = first_seen.setdefault(name, (number, label))
        if label != first_label:
            yield f"{number}: {name!r} has label {label}, but label {first_label} on line {first_number}"
        else:
            yield parsed


def read_video_list(
    path: str | Path,
    *,
    prefix: str | Path = "",
    separator: str = " ",
    num_classes: int = 0,
    has_frame_counts: bool = False,
) -> list[VideoEntry]:
    """Read a list file.

    Numbers stand after the last separators of a line, so names may hold spaces. Blank lines, Windows line
    ends and a byte order mark are accepted. A name that stands there twice with one label is kept twice, and
    a warning says so.

    Args:
        path: The list file, UTF-8, local or a URL.
        prefix: Folder or URL put before each relative path.
        separator: What stands between path and label; white space means any run of it.
        num_classes: Labels must be in ``[0, num_classes)``; 0 leaves the upper end open.
        has_frame_counts: Lines are ``path number-of-frames label``.

    Raises:
        AnnotationError: If the file cannot be read, holds no video, or has malformed lines; names each by
            ``path:line``, up to ten of them.
    """
    path = str(path)
    entries, faults = [], []
    for parsed in _parse_lines(_read_lines(path), separator, num_classes, has_frame_counts):
        if isinstance(parsed, str):
            faults.append(f"{path}:{parsed}")
        else:
            name, label, num_frames = parsed
            entries.append(VideoEntry(name, join(prefix, name), label, num_frames))
    if faults:
        hidden = len(faults) - _MAX_FAULTS
        more = f"\n... and {hidden} more" if hidden > 0 else ""
        raise AnnotationError("\n".join(faults[:_MAX_FAULTS]) + more)
    if not entries:
        raise AnnotationError(f"{path}: must list at least one video, got an empty list.")
    num_repeated = len(entries) - len({entry.name for entry in entries})
    if num_repeated:
        logger.warning(f"{path} lists {num_repeated} videos more than once; they are kept.")
    return entries


def read_label_map(path: str | Path) -> list[str]:
    """Read the class names, one per line; line ``i`` from 0 names label ``i``.

    Raises:
        AnnotationError: If the file cannot be read, is empty, or has a blank or repeated name.
    """
    path = str(path)
    names = [line.strip() for line in _read_lines(path)]
    while names and not names[-1]:
        names.pop()
    if not names:
        raise AnnotationError(f"{path}: must hold one class name per line, got an empty file.")
    for number, name in enumerate(names, start=1):
        if not name:
            raise AnnotationError(f"{path}:{number}: class name must not be blank, its line is its label.")
        if names.index(name) != number - 1:
            raise AnnotationError(
                f"{path}:{number}: class names must differ, got {name!r} as on line {names.index(name) + 1}."
            )
    return names


def label_map_hash(names: Sequence[str]) -> str:
    """Return a fingerprint of class names in their order: the SHA-256 of the lines, in hexadecimal.

    Checkpoints carry it, so that scores are never read with another dataset's classes.
    """
    return hashlib.sha256("\n".join(names).encode()).hexdigest()
