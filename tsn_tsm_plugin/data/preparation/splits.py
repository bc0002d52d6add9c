"""read_ucf101, read_hmdb51: read annotations with three numbered splits into training and test.

The test list of a split serves as validation, as in the papers.
"""

from pathlib import Path

from tsn_tsm_plugin.data.preparation.annotations import (
    AnnotatedVideo,
    Annotations,
    find_file,
    find_files,
    label_of,
    numbered,
    read_lines,
)
from tsn_tsm_plugin.errors import AnnotationError

_HMDB51_SPLITS = {"1": "train", "2": "val"}


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
    for part, word in (("train", "trainlist"), ("val", "testlist")):
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
