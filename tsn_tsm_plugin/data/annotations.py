"""VideoEntry, read_video_list, read_label_map: strict readers of list files and label maps.

A list file holds one ``path label`` per line, as MMAction2 and Kinetics tools write it. For extracted frames
it is ``folder number-of-frames label``, as in MMAction2 and mit-han-lab's TSM. A label map holds one class
name per line; the number of the line, from 0, is the label.
"""

import hashlib
import json
import operator
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tsn_tsm_plugin.errors import AnnotationError
from tsn_tsm_plugin.log import get_logger
from tsn_tsm_plugin.paths import NO_PATH, join, printable, read_bytes

logger = get_logger(__name__)

# Number of faults that one error lists; further faults are only counted.
_MAX_FAULTS = 10
_DIGITS = re.compile(r"\s*-?[0-9]{1,18}\s*", re.ASCII)


Label = int | tuple[int, ...]
"""The class of a video, or all its classes if a list gives several."""


class VideoEntry(NamedTuple):
    """One line of a list.

    Attributes:
        name: Name as written in the list.
        path: Path of the file or folder.
        label: Class of the video; in lists with several labels, the classes in ascending order, maybe none.
        num_frames: Number of frames by the line; 0 if the line has no such number.
    """

    name: str
    path: str
    label: Label
    num_frames: int = 0


class _Form(NamedTuple):
    """Format of the lines of a list."""

    separator: str
    num_classes: int
    has_frame_counts: bool
    multi_label: bool
    prefix: str | Path

    def __str__(self) -> str:
        labels = "[label ...]" if self.multi_label else "label"
        fields = ["path", *["frames"] * self.has_frame_counts, labels]
        return self.separator.join(fields)


def read_text_lines(path: str) -> list[str]:
    """Return the lines of a text file without byte order mark and line ends.

    Raises:
        AnnotationError: If the file cannot be read, or is not UTF-8.
    """
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


def fault_of_name(name: str) -> str:
    """Return why a list or label map cannot contain a name; empty if it can."""
    if printable(name) == name == name.strip() and not {"\n", "\r"} & set(name):
        return ""
    return "its name must be one line of UTF-8 without white space at its ends. Rename it."


def _whole_number(value: object, what: str) -> int:
    try:
        if isinstance(value, bool) or (isinstance(value, str) and not _DIGITS.fullmatch(value)):
            raise ValueError  # int() would accept 0_1, +1 and the digits of other scripts.
        number = int(value) if isinstance(value, str) else operator.index(value)  # type: ignore[arg-type]
    except (ValueError, TypeError):
        raise ValueError(f"{what} must be an integer, got {value!r}") from None
    if number < 0:
        raise ValueError(f"{what} must not be negative, got {number}")
    return number


def _entry(name: str, num_frames: object, labels: Sequence[object], form: _Form) -> VideoEntry:
    """Check the fields of a line; raise a ValueError that names the fault."""
    if NO_PATH.search(name):
        raise ValueError(f"path must not hold NUL or an incomplete character, got {name!r}")
    count = _whole_number(num_frames, "number of frames") if form.has_frame_counts else 0
    classes = [_whole_number(label, "label") for label in labels]
    for number in classes:
        if form.num_classes and number >= form.num_classes:
            raise ValueError(f"label must be below the number of classes, {form.num_classes}, got {number}")
    label = tuple(sorted(set(classes))) if form.multi_label else classes[0]
    return VideoEntry(name, join(form.prefix, name), label, count)


def _parse_line(line: str, form: _Form) -> VideoEntry:
    """Read one line; raise a ValueError that names its fault."""
    separator = form.separator if form.separator.strip() else None
    num_fields = 2 + form.has_frame_counts
    parts = line.split(separator) if form.multi_label else line.rsplit(separator, maxsplit=num_fields - 1)
    if len(parts) < num_fields - form.multi_label or not parts[0].strip():
        is_other = any(mark in line for mark in ",;") and separator is None
        hint = ". Separate them by white space or set DATA.PATH_LABEL_SEPARATOR" if is_other else ""
        raise ValueError(f"must be '{form}', got {line!r}{hint}")
    name, *numbers = parts
    num_frames = numbers.pop(0) if form.has_frame_counts else None
    return _entry(name.strip(), num_frames, numbers, form)


def _parse_record(record: object, form: _Form) -> VideoEntry:
    """Read one element of MMAction2's JSON annotations; raise a ValueError that names its fault."""
    if not isinstance(record, dict):
        raise ValueError(f"must be an object, got {record!r}")
    name = record.get("frame_dir", record.get("filename"))
    labels = record.get("label")
    labels = labels if isinstance(labels, list) else [labels]
    if not isinstance(name, str) or not name or (len(labels) != 1 and not form.multi_label):
        key = "'frame_dir', 'total_frames'" if form.has_frame_counts else "'filename'"
        several = "labels" if form.multi_label else "one label"
        raise ValueError(f"must have {key} and 'label' with {several}, got {record!r}")
    return _entry(name, record.get("total_frames", 0), labels, form)


def read_json(path: str, kind: type) -> Any:
    """Return the content of a JSON file, a list or a dictionary according to ``kind``."""
    try:
        content = json.loads("\n".join(read_text_lines(path)))
    except json.JSONDecodeError as error:
        raise AnnotationError(f"{path}:{error.lineno}: is no JSON ({error.msg}). Fetch it again.") from error
    except RecursionError as error:
        raise AnnotationError(f"{path}: is nested too deeply for a list of videos.") from error
    if not isinstance(content, kind):
        raise AnnotationError(f"{path}: must hold a {kind.__name__}, got {type(content).__name__}.")
    return content


def _parse(path: str, form: _Form) -> Iterator[VideoEntry | str]:
    """Yield the content of each line or JSON element, or its fault with the location."""
    is_json = path.endswith(".json")
    items: Sequence[Any] = read_json(path, list) if is_json else read_text_lines(path)
    parse: Callable[[Any, _Form], VideoEntry] = _parse_record if is_json else _parse_line
    unit = "element" if is_json else "line"
    first_seen: dict[str, tuple[int, Label]] = {}
    for number, item in enumerate(items, start=0 if is_json else 1):
        if isinstance(item, str) and not item.strip():
            continue
        try:
            entry = parse(item, form)
        except ValueError as error:
            yield f"{path}:{number}: {error}"
            continue
        first_number, first_label = first_seen.setdefault(entry.name, (number, entry.label))
        if entry.label != first_label:
            yield (
                f"{path}:{number}: {entry.name!r} has label {entry.label}, but label {first_label} on "
                f"{unit} {first_number}"
            )
        else:
            yield entry


def read_video_list(
    path: str | Path,
    *,
    prefix: str | Path = "",
    separator: str = " ",
    num_classes: int = 0,
    has_frame_counts: bool = False,
    multi_label: bool = False,
) -> list[VideoEntry]:
    """Read a list file, or MMAction2's JSON annotations if its name ends with ``.json``.

    Numbers follow the last separators of a line, so names may contain spaces. In lists with several labels,
    the name ends at the first separator. Blank lines, Windows line ends and a byte order mark are accepted. A
    repeated name with the same label is kept twice, with a warning.

    Args:
        path: The list file, UTF-8, local or a URL.
        prefix: Folder or URL put before each relative path.
        separator: Separator between path and label; a separator of white space matches any white space.
        num_classes: Labels must be in ``[0, num_classes)``; 0 sets no upper limit.
        has_frame_counts: Whether lines are ``path number-of-frames label``.
        multi_label: Whether lines may end with any number of labels, even none.

    Raises:
        AnnotationError: If the file cannot be read, holds no video, or has malformed lines. The message
            names up to ten of the lines by ``path:line``, or JSON elements by their number from 0.
    """
    path = str(path)
    form = _Form(separator, num_classes, has_frame_counts, multi_label, prefix)
    parsed = list(_parse(path, form))
    faults = [fault for fault in parsed if isinstance(fault, str)]
    entries = [entry for entry in parsed if isinstance(entry, VideoEntry)]
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
    names = [line.strip() for line in read_text_lines(path)]
    while names and not names[-1]:
        names.pop()
    if not names:
        raise AnnotationError(f"{path}: must hold one class name per line, got an empty file.")
    first_lines: dict[str, int] = {}
    for number, name in enumerate(names, start=1):
        if not name:
            raise AnnotationError(f"{path}:{number}: class name must not be blank, its line is its label.")
        first = first_lines.setdefault(name, number)
        if first != number:
            raise AnnotationError(
                f"{path}:{number}: class names must differ, got {name!r} as on line {first}."
            )
    return names


def label_map_hash(names: Sequence[str]) -> str:
    """Return a fingerprint of class names in their order: the SHA-256 of the lines, in hexadecimal.

    Checkpoints store the hash, so that scores are never read with another dataset's classes.
    """
    return hashlib.sha256("\n".join(names).encode()).hexdigest()
