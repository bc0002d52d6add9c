"""A plain folder with one folder of videos for each class, divided into splits or not yet."""

import hashlib
import os
from pathlib import Path

from tsn_tsm_plugin.data.paths import printable
from tsn_tsm_plugin.data.preparation.annotations import AnnotatedVideo, Annotations, numbered
from tsn_tsm_plugin.data.video_files import is_left_behind, videos_below
from tsn_tsm_plugin.errors import AnnotationError

_SPLITS = {"train": ("train", "training"), "val": ("val", "valid", "validation", "test")}


def read_class_folders(folder: Path, *, val_share: float = 0.2) -> Annotations:
    """Read ``folder/class/video``, or ``folder/train/class/video`` and ``folder/val/class/video``.

    Labels are positions of the classes in alphabetical order. Without folders of splits, each class gives
    about ``val_share`` of its videos to validation: those whose names have the smallest hashes, so that the
    choice stays when videos are added.

    Raises:
        AnnotationError: If there is no video, or a class of one split is missing in training.
    """
    if not folder.is_dir():
        raise AnnotationError(f"{folder}: no such folder. Check --videos.")
    parts = {split: _first_folder(folder, names) for split, names in _SPLITS.items()}
    if all(parts.values()):
        return _read_divided(folder, {split: path for split, path in parts.items() if path})
    classes = _videos_by_class(folder)
    if not classes:
        raise AnnotationError(f"{folder}: must hold one folder of videos for each class. Check --videos.")
    splits: dict[str, list[AnnotatedVideo]] = {"train": [], "val": []}
    for label, videos in enumerate(classes.values()):
        num_val = round(val_share * len(videos))
        validation = set(sorted(videos, key=_hash_of_name)[:num_val])
        for video in videos:
            splits["val" if video in validation else "train"].append(_annotated(video, folder, label))
    return Annotations(list(classes), splits)


def _read_divided(folder: Path, parts: dict[str, Path]) -> Annotations:
    by_split = {split: _videos_by_class(path) for split, path in parts.items()}
    class_names = list(by_split["train"])
    labels = numbered(class_names)
    splits: dict[str, list[AnnotatedVideo]] = {}
    for split, classes in by_split.items():
        unknown = sorted(set(classes) - set(class_names))
        if unknown or not classes:
            raise AnnotationError(
                f"{parts[split]}: must hold videos of the classes of {parts['train']}, got "
                f"{unknown or 'none'}."
            )
        splits[split] = [
            _annotated(video, folder, labels[name]) for name, videos in classes.items() for video in videos
        ]
    return Annotations(class_names, splits)


def _first_folder(folder: Path, names: tuple[str, ...]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_dir()), None)


def _videos_by_class(folder: Path) -> dict[str, list[Path]]:
    classes = {}
    for path in sorted(folder.iterdir()):
        if not is_left_behind(path.name) and path.is_dir() and (videos := sorted(videos_below(path))):
            if printable(path.name) != path.name:
                raise AnnotationError(f"{printable(path)}: its name is not valid UTF-8. Rename the folder.")
            _check_names(videos)
            classes[path.name] = videos
    return classes


def _check_names(videos: list[Path]) -> None:
    """Refuse two videos that differ by their suffix only: lists and conversions name them without it."""
    seen: dict[Path, Path] = {}
    for video in videos:
        other = seen.setdefault(video.with_suffix(""), video)
        if other != video:
            raise AnnotationError(
                f"{video}: must differ from {other} by more than its suffix. Remove one of them."
            )


def _annotated(video: Path, folder: Path, label: int) -> AnnotatedVideo:
    return AnnotatedVideo((video.relative_to(folder).with_suffix("").as_posix(),), label)


def _hash_of_name(video: Path) -> bytes:
    return hashlib.sha256(os.fsencode(video.name)).digest()
