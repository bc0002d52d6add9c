"""OFFICIAL_DATASETS, read_kinetics, ...: published datasets by name, with readers of their annotations.

Test lists of Diving48, UCF101 and HMDB51 serve as validation, as in the papers.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tsn_tsm_plugin.data.annotations import read_json
from tsn_tsm_plugin.data.preparation.annotations import (
    AnnotatedVideo,
    Annotations,
    find_file,
    find_files,
    label_of,
    numbered,
    read_lines,
    read_table,
)
from tsn_tsm_plugin.errors import AnnotationError

_KINETICS_COLUMNS = ("youtube_id", "time_start", "time_end", "split")
_KINETICS_SPLITS = {"train": "train", "val": "val", "validate": "val", "validation": "val", "test": "test"}
_SOMETHING_SPLITS = {"train": "train", "val": "validation"}
_DIVING48_FILES = {"train": "Diving48_V2_train.json", "val": "Diving48_V2_test.json"}
_UCF101_LISTS = {"train": "trainlist", "val": "testlist"}
_HMDB51_SPLITS = {"1": "train", "2": "val"}


def read_kinetics(folder: Path) -> Annotations:
    """Read every CSV file with the columns ``label, youtube_id, time_start, time_end, split``.

    Labels are positions of the classes in alphabetical order. A clip is the file ``id_000010_000020.mp4``:
    the YouTube id and the seconds, six digits each. Clips without a label, as in the official test list, are
    skipped.
    """
    paths = find_files(folder, "*.csv")
    if not paths:
        raise AnnotationError(f"{folder}: must hold train.csv and val.csv of Kinetics. Check --annotations.")
    rows = [(f"{path}:{i}", row) for path in paths for i, row in read_table(path, _KINETICS_COLUMNS)]
    class_names = sorted({row.get("label", "").strip() for _, row in rows} - {""})
    labels = numbered(class_names)
    splits: dict[str, list[AnnotatedVideo]] = {"train": [], "val": []}
    for location, row in rows:
        split = _KINETICS_SPLITS.get(row["split"].strip())
        if split is None:
            raise AnnotationError(
                f"{location}: split must be one of {', '.join(_KINETICS_SPLITS)}, got {row['split']!r}."
            )
        if split != "test" and "label" not in row:
            raise AnnotationError(f"{location.rpartition(':')[0]}:1: must have the column label.")
        if label := row.get("label", "").strip():
            video = AnnotatedVideo(_kinetics_names(row, location), labels[label])
            splits.setdefault(split, []).append(video)
    return Annotations(class_names, splits)


def _kinetics_names(row: dict[str, str], location: str) -> tuple[str, ...]:
    try:
        start, end = (int(float(row[column])) for column in ("time_start", "time_end"))
    except ValueError:
        raise AnnotationError(
            f"{location}: time_start and time_end must be seconds, got {row['time_start']!r} and "
            f"{row['time_end']!r}."
        ) from None
    return f"{row['youtube_id']}_{start:06d}_{end:06d}", row["youtube_id"]


def read_sthv1(folder: Path) -> Annotations:
    """Read Something-Something V1."""
    return _read_semicolons(folder, "something-something-v1")


def read_jester(folder: Path) -> Annotations:
    """Read Jester V1."""
    return _read_semicolons(folder, "jester-v1")


def _read_semicolons(folder: Path, name: str) -> Annotations:
    """Read ``NAME-train.csv`` and ``NAME-validation.csv``, with lines ``id;class`` and no header.

    ``NAME-labels.csv`` has one class per line; the number of the line, from 0, is the label.
    """
    class_names = [line for _, line in read_lines(find_file(folder, f"{name}-labels.csv"))]
    labels = numbered(class_names)
    splits: dict[str, list[AnnotatedVideo]] = {}
    for split, word in _SOMETHING_SPLITS.items():
        path = find_file(folder, f"{name}-{word}.csv")
        splits[split] = []
        for number, line in read_lines(path):
            video, semicolon, class_name = line.partition(";")
            if not semicolon:
                raise AnnotationError(f"{path}:{number}: must be 'id;class', got {line!r}.")
            splits[split].append(AnnotatedVideo((video,), label_of(class_name, labels, f"{path}:{number}")))
    return Annotations(class_names, splits)


def read_sthv2(folder: Path) -> Annotations:
    """Read Something-Something V2, with the older or newer file names.

    The files are JSON lists of objects with ``id`` and ``template``, the class with square brackets, and a
    JSON object from class to label.
    """
    path = find_file(folder, "something-something-v2-labels.json", "labels.json")
    try:
        by_label = {int(label): name for name, label in read_json(str(path), dict).items()}
    except (TypeError, ValueError) as error:
        raise AnnotationError(f"{path}: must map each class to its label, a number ({error}).") from error
    if sorted(by_label) != list(range(len(by_label))) or not by_label:
        raise AnnotationError(f"{path}: labels must be 0, 1, ..., got {sorted(by_label)}.")
    class_names = [by_label[label] for label in range(len(by_label))]
    labels = numbered(class_names)
    splits: dict[str, list[AnnotatedVideo]] = {}
    for split, word in _SOMETHING_SPLITS.items():
        path = find_file(folder, f"something-something-v2-{word}.json", f"{word}.json")
        splits[split] = []
        for location, video, template in _json_items(path, "id", "template", str):
            class_name = template.replace("[", "").replace("]", "")
            splits[split].append(AnnotatedVideo((video,), label_of(class_name, labels, location)))
    return Annotations(class_names, splits)


def read_diving48(folder: Path) -> Annotations:
    """Read the V2 labels, JSON lists of objects with ``vid_name`` and ``label``, and the vocabulary of dives.

    A class name is made of take-off, somersaults, twists and position.
    """
    vocabulary = read_json(str(find_file(folder, "Diving48_vocab.json")), list)
    class_names = [word if isinstance(word, str) else " ".join(map(str, word)) for word in vocabulary]
    splits: dict[str, list[AnnotatedVideo]] = {}
    for split, name in _DIVING48_FILES.items():
        splits[split] = []
        for location, video, label in _json_items(find_file(folder, name), "vid_name", "label", int):
            if not 0 <= label < len(class_names):
                raise AnnotationError(f"{location}: label must be in [0, {len(class_names)}), got {label}.")
            splits[split].append(AnnotatedVideo((video,), label))
    return Annotations(class_names, splits)


def _json_items(path: Path, name_key: str, class_key: str, kind: type) -> Iterator[tuple[str, str, Any]]:
    """Yield location, name and class of each element of a JSON list; the class has type ``kind``."""
    for number, item in enumerate(read_json(str(path), list)):
        location = f"{path}: element {number}"
        if not isinstance(item, dict) or name_key not in item or not isinstance(item.get(class_key), kind):
            raise AnnotationError(f"{location}: must have {name_key!r} and {class_key!r}, got {item!r}.")
        yield location, str(item[name_key]), item[class_key]


def read_ucf101(folder: Path, *, split: int = 1) -> Annotations:
    """Read ``classInd.txt`` (``1 Class``), ``trainlist01.txt`` (``Class/name.avi 1``) and ``testlist01.txt``.

    Labels start at 0, the file's numbers at 1. A test list has no numbers: the folder is the class.
    """
    path = find_file(folder, "classInd.txt")
    class_names: list[str] = []
    for number, line in read_lines(path):
        position, _, name = line.partition(" ")
        if position != str(len(class_names) + 1) or not name:
            raise AnnotationError(f"{path}:{number}: must be '{len(class_names) + 1} Class', got {line!r}.")
        class_names.append(name)
    labels = numbered(class_names)
    splits: dict[str, list[AnnotatedVideo]] = {}
    for part, word in _UCF101_LISTS.items():
        path = find_file(folder, f"{word}{split:02d}.txt")
        splits[part] = []
        for number, line in read_lines(path):
            video = line.split()[0]
            label = label_of(video.partition("/")[0], labels, f"{path}:{number}")
            splits[part].append(_by_path(video, label))
    return Annotations(class_names, splits)


def read_hmdb51(folder: Path, *, split: int = 1) -> Annotations:
    """Read ``<class>_test_split1.txt`` with lines ``name.avi 1`` (training), ``2`` (test) or ``0`` (neither).

    Labels are positions of the classes in alphabetical order.
    """
    suffix = f"_test_split{split}.txt"
    paths = sorted(find_files(folder, f"*{suffix}"), key=lambda path: path.name.removesuffix(suffix))
    if not paths:
        raise AnnotationError(f"{folder}: must hold <class>{suffix} of HMDB51. Check --annotations.")
    class_names = [path.name.removesuffix(suffix) for path in paths]
    splits: dict[str, list[AnnotatedVideo]] = {"train": [], "val": []}
    for label, (name, path) in enumerate(zip(class_names, paths, strict=True)):
        for number, line in read_lines(path):
            video, _, part = line.rpartition(" ")
            if part not in ("0", *_HMDB51_SPLITS) or not video:
                raise AnnotationError(f"{path}:{number}: must be 'name 0', 1 or 2, got {line!r}.")
            if part in _HMDB51_SPLITS:
                splits[_HMDB51_SPLITS[part]].append(_by_path(f"{name}/{video.strip()}", label))
    return Annotations(class_names, splits)


def _by_path(video: str, label: int) -> AnnotatedVideo:
    name = video.removesuffix(Path(video).suffix)
    return AnnotatedVideo((name, Path(name).name), label)


@dataclass(frozen=True)
class OfficialDataset:
    """A published dataset.

    Attributes:
        title: Name in papers.
        num_classes: Number of classes; a lower number in the given files gives a warning.
        read: Function that reads the folder of annotation files; it takes ``split=`` if splits are numbered.
        template: Name of a frame's file if videos are folders of frames; empty for video files.
        has_numbered_splits: Whether there are three splits into training and test.
    """

    title: str
    num_classes: int
    read: Callable[..., Annotations]
    template: str = ""
    has_numbered_splits: bool = False


OFFICIAL_DATASETS = {
    "kinetics400": OfficialDataset("Kinetics-400", 400, read_kinetics),
    "sthv1": OfficialDataset("Something-Something V1", 174, read_sthv1, "{:05}.jpg"),
    "sthv2": OfficialDataset("Something-Something V2", 174, read_sthv2),
    "diving48": OfficialDataset("Diving48, V2 labels", 48, read_diving48),
    "jester": OfficialDataset("Jester", 27, read_jester, "{:05}.jpg"),
    "ucf101": OfficialDataset("UCF101", 101, read_ucf101, has_numbered_splits=True),
    "hmdb51": OfficialDataset("HMDB51", 51, read_hmdb51, has_numbered_splits=True),
}
