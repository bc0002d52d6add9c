"""recipe_lines, mirror_pairs: write the keys of a recipe for a prepared dataset as YAML."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

import yaml

from tsn_tsm_plugin.data.annotations import label_map_hash
from tsn_tsm_plugin.data.preparation.annotations import Annotations, numbered
from tsn_tsm_plugin.data.preparation.catalog import OFFICIAL_DATASETS

_LEFT_RIGHT = {"left": "right", "right": "left", "Left": "Right", "Right": "Left"}
_TURNS = {
    "clockwise": "counterclockwise",
    "counterclockwise": "clockwise",
    "Clockwise": "Counterclockwise",
    "Counterclockwise": "Clockwise",
}


def recipe_lines(
    name: str, annotations: Annotations, *, out_dir: Path, videos_dir: Path, template: str
) -> str:
    """Return YAML to merge into a recipe.

    Args:
        name: Name of the dataset.
        annotations: Classes and splits.
        out_dir: Folder of lists and label map.
        videos_dir: Folder of the listed videos; written relative to ``out_dir`` if inside ``out_dir``.
        template: Name of a frame's file if the listed videos are folders of frames, otherwise empty.
    """
    names = annotations.class_names
    mirrored = mirror_pairs(names)
    out, videos = out_dir.resolve(), videos_dir.resolve()
    data: dict[str, object] = {
        "DATASET": name if name in OFFICIAL_DATASETS else "",
        "PATH_TO_DATA_DIR": str(out),
        "PATH_PREFIX": os.path.relpath(videos, out) if videos.is_relative_to(out) else str(videos),
        "TRAIN_LIST": "train.txt",
        "VAL_LIST": "val.txt" if annotations.splits.get("val") else "",
        "LABEL_MAP": "labels.txt",
        "FORMAT": "frames" if template else "videos",
    }
    if annotations.splits.get("test"):
        data["TEST_LIST"] = "test.txt"
    if template:
        data |= {"FRAME_TEMPLATE": template, "FRAME_START_INDEX": 1}
    data["FLIP_LABEL_PAIRS"] = [list(pair) for pair in mirrored]
    comments = [f"# {name}: {len(names)} classes, label map {label_map_hash(names)}."]
    comments += [f"# A mirror exchanges: {names[a]} / {names[b]}." for a, b in mirrored]
    comments += [
        f"# It also exchanges {names[a]} / {names[b]} ({[a, b]}), which MMAction2 does not swap."
        for a, b in turn_pairs(names)
    ]
    content = {"MODEL": {"NUM_CLASSES": len(names)}, "DATA": data}
    return "\n".join(comments) + "\n" + yaml.safe_dump(content, sort_keys=False, default_flow_style=None)


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
