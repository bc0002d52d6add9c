"""read_sthv1, read_sthv2, read_jester: annotations of Something-Something V1, V2 and Jester.

V1 and Jester: ``NAME-train.csv`` and ``NAME-validation.csv`` have lines ``id;class`` and no header.
``NAME-labels.csv`` has one class per line; the number of the line, from 0, is the label. V2: JSON lists of
objects with ``id`` and ``template``, the class with square brackets, and a JSON object from class to label.
"""

from pathlib import Path

from tsn_tsm_plugin.data.annotations import read_json
from tsn_tsm_plugin.data.preparation.annotations import (
    AnnotatedVideo,
    Annotations,
    find_file,
    label_of,
    numbered,
    read_lines,
)
from tsn_tsm_plugin.errors import AnnotationError

_SPLITS = {"train": "train", "val": "validation"}


def read_sthv1(folder: Path) -> Annotations:
    """Read Something-Something V1."""
    return _read_semicolons(folder, "something-something-v1")


def read_jester(folder: Path) -> Annotations:
    """Read Jester V1."""
    return _read_semicolons(folder, "jester-v1")


def _read_semicolons(folder: Path, name: str) -> Annotations:
    class_names = [line for _, line in read_lines(find_file(folder, f"{name}-labels.csv"))]
    labels = numbered(class_names)
    splits: dict[str, list[AnnotatedVideo]] = {}
    for split, word in _SPLITS.items():
        path = find_file(folder, f"{name}-{word}.csv")
        splits[split] = []
        for number, line in read_lines(path):
            video, semicolon, class_name = line.partition(";")
            if not semicolon:
                raise AnnotationError(f"{path}:{number}: must be 'id;class', got {line!r}.")
            splits[split].append(AnnotatedVideo((video,), label_of(class_name, labels, f"{path}:{number}")))
    return Annotations(class_names, splits)


def read_sthv2(folder: Path) -> Annotations:
    """Read Something-Something V2, with the older or newer file names."""
    path = find_file(folder, "something-something-v2-labels.json", "labels.json")
    class_names = _names_by_label(path)
    labels = numbered(class_names)
    splits = {}
    for split, word in _SPLITS.items():
        path = find_file(folder, f"something-something-v2-{word}.json", f"{word}.json")
        items = read_json(str(path), list)
        splits[split] = [_v2_video(path, i, item, labels) for i, item in enumerate(items)]
    return Annotations(class_names, splits)


def _names_by_label(path: Path) -> list[str]:
    try:
        labels = {int(label): name for name, label in read_json(str(path), dict).items()}
    except (TypeError, ValueError) as error:
        raise AnnotationError(f"{path}: must map each class to its label, a number ({error}).") from error
    if sorted(labels) != list(range(len(labels))) or not labels:
        raise AnnotationError(f"{path}: labels must be 0, 1, ..., got {sorted(labels)}.")
    return [labels[label] for label in range(len(labels))]


def _v2_video(path: Path, number: int, item: object, labels: dict[str, int]) -> AnnotatedVideo:
    location = f"{path}: element {number}"
    if not isinstance(item, dict) or not isinstance(item.get("template"), str) or "id" not in item:
        raise AnnotationError(f"{location}: must have 'id' and 'template', got {item!r}.")
    class_name = item["template"].replace("[", "").replace("]", "")
    return AnnotatedVideo((str(item["id"]),), label_of(class_name, labels, location))
