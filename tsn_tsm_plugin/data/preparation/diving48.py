"""read_diving48: read the V2 labels and the vocabulary of dives.

The labels are JSON lists of objects with ``vid_name`` and ``label``. The official test split serves as
validation, as in the papers.
"""

from pathlib import Path

from tsn_tsm_plugin.data.annotations import read_json
from tsn_tsm_plugin.data.preparation.annotations import AnnotatedVideo, Annotations, find_file
from tsn_tsm_plugin.errors import AnnotationError

_FILES = {"train": "Diving48_V2_train.json", "val": "Diving48_V2_test.json"}


def read_diving48(folder: Path) -> Annotations:
    """Read the V2 annotations; a class name is made of take-off, somersaults, twists and position."""
    vocabulary = read_json(str(find_file(folder, "Diving48_vocab.json")), list)
    class_names = [word if isinstance(word, str) else " ".join(map(str, word)) for word in vocabulary]
    splits = {}
    for split, name in _FILES.items():
        path = find_file(folder, name)
        items = read_json(str(path), list)
        splits[split] = [_video(path, i, item, len(class_names)) for i, item in enumerate(items)]
    return Annotations(class_names, splits)


def _video(path: Path, number: int, item: object, num_classes: int) -> AnnotatedVideo:
    if not isinstance(item, dict) or "vid_name" not in item or not isinstance(item.get("label"), int):
        raise AnnotationError(f"{path}: element {number} must have 'vid_name' and 'label', got {item!r}.")
    if not 0 <= item["label"] < num_classes:
        raise AnnotationError(
            f"{path}: element {number}: label must be in [0, {num_classes}), got {item['label']}."
        )
    return AnnotatedVideo((str(item["vid_name"]),), item["label"])
