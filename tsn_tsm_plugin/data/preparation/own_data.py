"""prepare_own_data, read_class_folders: read a folder of videos; write its lists and recipe."""

import hashlib
import json
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from tsn_tsm_plugin.data.annotations import read_text_lines
from tsn_tsm_plugin.data.frame_folder import frame_folders_below
from tsn_tsm_plugin.data.preparation.annotations import AnnotatedVideo, Annotations, numbered, read_lines
from tsn_tsm_plugin.data.preparation.prepare import prepare_dataset, write_if_changed
from tsn_tsm_plugin.data.video_files import is_left_behind, videos_below
from tsn_tsm_plugin.data.workers import usable_cpus
from tsn_tsm_plugin.errors import AnnotationError, ConfigError
from tsn_tsm_plugin.paths import is_url, printable, read_text

METHODS = ("tsm", "tsn")
_MAX_BATCH, _MAX_WORKERS = 16, 8
_SPLITS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}

GroupOf = Callable[[Path], str]
"""Function from a video to the name of its group, such as its subject; a group lies in one split only."""


def prepare_own_data(
    folder: Path,
    *,
    method: str = "tsm",
    backbone: str = "resnet50",
    weights: str | Callable[[], str] = "",
    val_fraction: float = 0.2,
    groups: str = "",
    datasets_dir: Path = Path("datasets"),
) -> Path:
    """Inspect a folder of videos, write its lists and a recipe, and return the path of the recipe.

    Lists and recipe are written to ``datasets_dir / name of the folder``. Equal folders give equal files.

    Args:
        folder: Folder with ``class/video``; or with ``train/class/video`` and ``val`` and ``test`` beside
            ``train``; or with the lists ``train.txt``, ``val.txt`` and ``labels.txt`` and videos relative to
            the folder; or with the output of ``prepare_dataset``.
        method: ``"tsm"`` or ``"tsn"``.
        backbone: A registered backbone, or ``timm/NAME`` or ``torchvision/NAME``.
        weights: ImageNet weights of the backbone, as in ``MODEL.BACKBONE_WEIGHTS``; empty: random
            initialisation. A function that returns the weights is called after the checks of the arguments.
        val_fraction: Fraction of each class for validation if the folder has no splits.
        groups: Regular expression or file that keeps videos together, see :func:`group_function`.
        datasets_dir: Folder of the output.

    Raises:
        AnnotationError: If the folder holds no usable videos.
        ConfigError: If the method is unknown.
    """
    if method not in METHODS:
        raise ConfigError(f"--method must be one of {', '.join(METHODS)}, got {method}.")
    folder = folder.expanduser()
    if not folder.is_dir():
        raise AnnotationError(f"--data {folder}: no such folder.")
    dataset = "dataset.yaml"
    has_lists = (folder / "train.txt").is_file()
    if not has_lists:
        annotations = read_class_folders(
            folder, val_fraction=val_fraction, group_of=group_function(groups) if groups else None
        )
        if len(annotations.class_names) < 2:
            name = annotations.class_names[0]
            raise AnnotationError(
                f"--data {folder}: must hold folders of two classes or more, got {name!r} alone. Lists "
                "must be called train.txt, val.txt and labels.txt."
            )
    weights = weights() if callable(weights) else weights
    out = _dataset_folder(folder, datasets_dir)
    if has_lists:
        num_train = len(read_lines(folder / "train.txt"))
        if (folder / "dataset.yaml").is_file():
            dataset = str((folder / "dataset.yaml").resolve())
        else:
            _write_dataset_of_lists(folder, out / dataset)
    else:
        report = prepare_dataset(
            folder.resolve().name,
            annotations,
            videos_dir=folder.resolve(),
            out_dir=out.resolve(),
            num_workers=usable_cpus(),
        )
        num_train = report["splits"]["train"]["readable"]
    recipe = out / f"{out.name}_{method}_{re.sub(r'[^a-zA-Z0-9]+', '_', backbone)}.yaml"
    write_if_changed(recipe, _recipe(folder, method, backbone, weights, dataset=dataset, num_train=num_train))
    return recipe


def group_function(groups: str) -> GroupOf:
    """Return a function from a video to its group, by a regular expression or a file.

    Args:
        groups: An expression to search in the video's path, such as ``"(subject\\d+)"``; the first bracket or
            the whole match is the group. Or a file with lines ``name-of-video group``.

    Raises:
        ConfigError: If the expression is invalid, or a line of the file is malformed.
    """
    path = os.path.expanduser(groups)  # noqa: PTH111
    if is_url(path) or os.path.lexists(path):
        table: dict[str, str] = {}
        for number, line in enumerate(read_text_lines(path), start=1):
            words = line.rsplit(maxsplit=1)
            if len(words) == 2:
                table[Path(words[0]).stem] = words[1]
            elif words:
                raise ConfigError(f"--groups {path}:{number}: must be `video group`, got {line!r}.")
        return lambda video: table.get(video.stem, str(video))
    try:
        pattern = re.compile(groups)
    except re.error as error:
        raise ConfigError(
            f"--groups must be a file or a regular expression, got {groups!r}: {error}."
        ) from error

    def group_of(video: Path) -> str:
        found = pattern.search(video.as_posix())
        return str(video) if found is None else found.group(1 if pattern.groups else 0)

    return group_of


def _dataset_folder(folder: Path, datasets_dir: Path) -> Path:
    """Return the output folder of a dataset; add a suffix if another dataset has the same name."""
    source, name = folder.resolve(), re.sub(r"[^\w.-]+", "_", folder.resolve().name) or "data"
    plain = datasets_dir / name
    note = plain / "source.json"
    is_others = os.path.lexists(note) and _source_in(note) != str(source)
    suffix = hashlib.sha256(os.fsencode(source)).hexdigest()[:6]
    out = datasets_dir / f"{name}_{suffix}" if is_others else plain
    write_if_changed(out / "source.json", json.dumps(str(source)) + "\n")
    return out


def _source_in(note: Path) -> Any:
    try:
        return json.loads(read_text(note))
    except (OSError, ValueError):
        return None


def _write_dataset_of_lists(folder: Path, dataset: Path) -> None:
    """Write the dataset file for existing lists."""
    names = folder / "labels.txt"
    if not names.is_file():
        raise AnnotationError(f"{folder}: has train.txt, but no labels.txt with one class name per line.")
    data = {
        "PATH_TO_DATA_DIR": str(folder.resolve()),
        "TRAIN_LIST": "train.txt",
        "VAL_LIST": "val.txt" if (folder / "val.txt").is_file() else "",
        "TEST_LIST": "test.txt" if (folder / "test.txt").is_file() else "",
        "LABEL_MAP": "labels.txt",
    }
    content = {"MODEL": {"NUM_CLASSES": len(read_lines(names))}, "DATA": data}
    write_if_changed(dataset, yaml.safe_dump(content, sort_keys=False))


def _recipe(folder: Path, method: str, backbone: str, weights: str, *, dataset: str, num_train: int) -> str:
    batch = next(size for size in (_MAX_BATCH, 8, 4, 2, 1) if size <= max(1, num_train // 2))
    content = {
        "_BASE_": [f"{method}/finetune", dataset],
        "MODEL": {"BACKBONE": backbone, "BACKBONE_WEIGHTS": weights},
        "TRAIN": {"BATCH_SIZE": batch},
        "TEST": {"BATCH_SIZE": batch},
        "DATA_LOADER": {"NUM_WORKERS": min(_MAX_WORKERS, usable_cpus())},
    }
    name = printable(folder.resolve().name)
    head = (
        f"# {method.upper()} with {backbone} on {name}, {num_train} training videos.\n"
        "# Written by tsn-tsm-train --data. run: tsn-tsm-train --cfg THIS_FILE\n"
    )
    return head + yaml.safe_dump(content, sort_keys=False, default_flow_style=None)


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
