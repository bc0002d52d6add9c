"""read_class_folders: read videos in one folder per class, with or without folders of splits."""

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

from tsn_tsm_plugin.data.frame_folder import frame_folders_below
from tsn_tsm_plugin.data.preparation.annotations import AnnotatedVideo, Annotations, numbered
from tsn_tsm_plugin.data.video_files import is_left_behind, videos_below
from tsn_tsm_plugin.errors import AnnotationError

_SPLITS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}

GroupOf = Callable[[Path], str]
"""Function from a video to the name of its group, such as its subject; a group lies in one split only."""


def read_class_folders(
    folder: Path, *, val_fraction: float = 0.2, group_of: GroupOf | None = None
) -> Annotations:
    """Read ``folder/class/video``, or ``folder/train/class/video`` with ``val`` and ``test`` beside it.

    Labels are positions of the classes in alphabetical order. Without a folder of validation videos, about
    ``val_fraction`` of each class's training videos become validation videos. The videos with the smallest
    hashes are chosen, so that the choice stays when videos are added.

    Args:
        folder: Folder of the dataset.
        val_fraction: Fraction of the validation videos, in [0, 1); 0 gives no validation.
        group_of: Function that names the group of a video; groups stay together. Without it, each video is
            chosen separately.

    Raises:
        AnnotationError: If there is no video, a split has a class that training lacks, or training or
            validation would be empty.
    """
    if not folder.is_dir():
        raise AnnotationError(f"{folder}: no such folder. Give the folder of the videos.")
    if not 0 <= val_fraction < 1:
        raise AnnotationError(f"--val-fraction must be at least 0 and below 1, got {val_fraction:g}.")
    parts = {split: path for split, names in _SPLITS.items() if (path := _first_folder(folder, names))}
    if "train" not in parts:
        parts = {"train": folder}
    by_split = {split: _videos_by_class(path) for split, path in parts.items()}
    class_names = list(by_split["train"])
    if not class_names and frame_folders_below(folder):
        raise AnnotationError(
            f"{folder}: must hold videos, got folders of images. Write lists of "
            "'path number-of-frames label' and set DATA.FORMAT to frames in a recipe."
        )
    if not class_names:
        raise AnnotationError(f"{parts['train']}: must hold one folder of videos for each class.")
    for split, classes in by_split.items():
        unknown = sorted(set(classes) - set(class_names))
        if unknown or not classes:
            raise AnnotationError(
                f"{parts[split]}: must hold videos of the classes of {parts['train']}, got "
                f"{unknown or 'none'}."
            )
    if "val" not in by_split:
        classes = by_split["train"]
        chosen = _chosen_for_validation(classes, val_fraction, group_of)
        by_split["val"] = {name: [v for v in videos if v in chosen] for name, videos in classes.items()}
        by_split["train"] = {name: [v for v in videos if v not in chosen] for name, videos in classes.items()}
    labels = numbered(class_names)
    splits = {
        split: [
            AnnotatedVideo((video.relative_to(folder).with_suffix("").as_posix(),), labels[name])
            for name, videos in classes.items()
            for video in videos
        ]
        for split, classes in sorted(by_split.items())
    }
    empty = [split for split in ("train", "val") if not splits[split] and (split == "train" or val_fraction)]
    if empty:
        raise AnnotationError(
            f"{folder}: no video remains for {' and '.join(empty)}. Add videos, or change --val-fraction "
            f"({val_fraction:g}) or --groups."
        )
    return Annotations(class_names, splits)


def _chosen_for_validation(
    classes: dict[str, list[Path]], fraction: float, group_of: GroupOf | None
) -> set[Path]:
    """Return the videos of whole groups, in the order of the groups' hashes, until each class has enough."""
    groups: dict[str, list[tuple[str, Path]]] = defaultdict(list)
    for name, videos in classes.items():
        for video in videos:
            key = group_of(video) if group_of else f"{name}/{video.name}"
            groups[key].append((name, video))
    wanted = {
        name: max(1, round(fraction * len(videos))) if fraction else 0 for name, videos in classes.items()
    }
    taken: Counter[str] = Counter()
    chosen: set[Path] = set()
    for key in sorted(groups, key=_hash):
        members = Counter(name for name, _ in groups[key])
        is_wanted = any(taken[name] < wanted[name] for name in members)
        leaves_some = all(taken[name] + count < len(classes[name]) for name, count in members.items())
        overshoots = any(
            taken[name] + count > wanted[name] + max(1, count // 2) for name, count in members.items()
        )
        if is_wanted and leaves_some and not overshoots:
            taken.update(members)
            chosen |= {video for _, video in groups[key]}
    return chosen


def _hash(key: str) -> bytes:
    return hashlib.sha256(os.fsencode(key.rpartition("/")[2])).digest()


def _first_folder(folder: Path, names: tuple[str, ...]) -> Path | None:
    paths = sorted(folder.iterdir())
    return next((path for path in paths if path.name.lower() in names and path.is_dir()), None)


def _videos_by_class(folder: Path) -> dict[str, list[Path]]:
    classes = {}
    for path in sorted(folder.iterdir()):
        if not is_left_behind(path.name) and path.is_dir() and (videos := sorted(videos_below(path))):
            _check_names(videos)
            classes[path.name] = videos
    return classes


def _check_names(videos: list[Path]) -> None:
    """Refuse two videos that differ only in suffix: lists and conversions name videos without suffix."""
    seen: dict[Path, Path] = {}
    for video in videos:
        other = seen.setdefault(video.with_suffix(""), video)
        if other != video:
            raise AnnotationError(
                f"{video}: must differ from {other} by more than its suffix. Remove one of them."
            )
