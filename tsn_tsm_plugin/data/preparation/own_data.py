"""prepare_own_data: write the lists and the recipe for a folder of videos."""

import hashlib
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from tsn_tsm_plugin.data.annotations import read_text_lines
from tsn_tsm_plugin.data.preparation.class_folders import GroupOf, read_class_folders
from tsn_tsm_plugin.data.preparation.prepare import prepare_dataset, write_if_changed
from tsn_tsm_plugin.data.workers import usable_cpus
from tsn_tsm_plugin.errors import AnnotationError, ConfigError
from tsn_tsm_plugin.paths import is_url, printable, read_text

METHODS = ("tsm", "tsn")
_MAX_BATCH, _MAX_WORKERS = 16, 8


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
        num_train = _count_lines(folder / "train.txt")
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


def _count_lines(path: Path) -> int:
    return len([line for line in read_text_lines(str(path)) if line.strip()])


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
    content = {"MODEL": {"NUM_CLASSES": _count_lines(names)}, "DATA": data}
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
