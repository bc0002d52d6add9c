"""prepare_dataset: check the videos of a published dataset; write lists, label map, recipe lines, report.

=====================  ======================================================================================
``train.txt`` ...      one list file for each split, of the readable videos
``labels.txt``         class names, one per line
``dataset.yaml``       the keys of a recipe for the dataset
``report.json``        hash of the label map, numbers, and missing or unreadable videos with reasons
``checked.jsonl``      the findings of each video, for continuing interrupted work
``frames``/``videos``  extracted or re-encoded videos, if requested
=====================  ======================================================================================

Running it again changes nothing unless videos or annotations have changed.
"""

import contextlib
import functools
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from tqdm import tqdm

from tsn_tsm_plugin.atomic_files import write_text_atomically
from tsn_tsm_plugin.data.annotations import fault_of_name, label_map_hash
from tsn_tsm_plugin.data.preparation.annotations import Annotations, VideoFiles, mirror_pairs, turn_pairs
from tsn_tsm_plugin.data.preparation.convert import Conversion, FrameExtraction
from tsn_tsm_plugin.data.preparation.verify_videos import Inspection, Journal
from tsn_tsm_plugin.data.workers import map_in_workers
from tsn_tsm_plugin.errors import AnnotationError
from tsn_tsm_plugin.log import get_logger
from tsn_tsm_plugin.paths import printable, read_text
from tsn_tsm_plugin.safe_text import terminal_text

logger = get_logger(__name__)

# Number of unreadable videos per split, and of classes, that the log names; report.json names all.
_MAX_NAMED = 10


@dataclass
class _Split:
    lines: list[str] = field(default_factory=list)
    labels: set[int] = field(default_factory=set)
    missing: list[str] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)
    num_plain: int = 0


def prepare_dataset(
    name: str,
    annotations: Annotations,
    *,
    videos_dir: Path,
    out_dir: Path,
    dataset: str = "",
    template: str = "",
    conversion: Conversion | None = None,
    num_workers: int = 0,
) -> dict[str, Any]:
    """Check the annotated videos, convert them if requested, and write the files for training.

    Args:
        name: Name of the dataset in papers, for the report.
        annotations: Classes and splits.
        videos_dir: Folder of the videos; names in lists are relative to it, or to the converted videos.
        out_dir: Folder of the written files; it may contain ``videos_dir``.
        dataset: ``DATA.DATASET`` of the recipe; empty for a dataset of one's own.
        template: Name of a frame's file, counted from 1, if videos are folders of frames.
        conversion: Extraction to frames or re-encoding, into ``out_dir``.
        num_workers: Processes; 0 uses this process.

    Returns:
        Content of ``report.json``.

    Raises:
        AnnotationError: If no video can be read, or a class name does not fit in a line.
        ValueError: If frames are to be converted, or videos would be written among their sources.
    """
    for class_name in annotations.class_names:
        if fault := fault_of_name(class_name):
            raise AnnotationError(f"class {printable(class_name)!r}: {fault}")
    out_dir.mkdir(parents=True, exist_ok=True)
    target = _target_folder(videos_dir, out_dir, template, conversion)
    inspection = Inspection(videos_dir, template, conversion, target)
    find = functools.partial(_find_folder, videos_dir) if template else VideoFiles(videos_dir).find
    paths = {v.names: find(v.names) for videos in annotations.splits.values() for v in videos}
    journal = Journal(out_dir / "checked.jsonl")
    _inspect([path for path in paths.values() if path], inspection, journal, num_workers=num_workers)
    # The videos are listed as they are, or as converted.
    listed_template = conversion.template if isinstance(conversion, FrameExtraction) else template
    splits: dict[str, _Split] = {}
    for split, videos in annotations.splits.items():
        content = splits[split] = _Split()
        for video in videos:
            path = paths[video.names]
            if path is None:
                content.missing.append(video.names[0])
                continue
            finding = journal.findings[path]
            if finding.error:
                content.unreadable[path] = finding.error
                continue
            content.num_plain += conversion is None and finding.is_sparse is False
            content.labels.add(video.label)
            count = f" {finding.num_frames}" if listed_template else ""
            content.lines.append(f"{inspection.listed_name(path)}{count} {video.label}")
    if not any(content.lines for content in splits.values()):
        raise AnnotationError(_why_none(splits, videos_dir))
    report = _report(name, annotations, splits)
    for split, content in splits.items():
        write_if_changed(out_dir / f"{split}.txt", "".join(line + "\n" for line in content.lines))
    write_if_changed(out_dir / "labels.txt", "\n".join(annotations.class_names) + "\n")
    write_if_changed(out_dir / "report.json", json.dumps(report, indent=2) + "\n")
    recipe = _recipe(report, annotations, out_dir, target or videos_dir, dataset, listed_template)
    write_if_changed(out_dir / "dataset.yaml", recipe)
    _log_report(report, out_dir)
    return report


def write_if_changed(path: Path, text: str) -> None:
    """Write a file atomically; do not touch a file that already contains the text."""
    with contextlib.suppress(OSError):  # Write the file if it is missing or not text.
        if read_text(path) == text:
            return
    write_text_atomically(path, text)


def _target_folder(
    videos_dir: Path, out_dir: Path, template: str, conversion: Conversion | None
) -> Path | None:
    if not videos_dir.is_dir():
        raise AnnotationError(f"{videos_dir}: no such folder. Check --videos.")
    if conversion is None:
        return None
    if template:
        raise ValueError("videos must be files to be converted, but this dataset comes as frames.")
    target = out_dir / ("frames" if isinstance(conversion, FrameExtraction) else "videos")
    if target.resolve().is_relative_to(videos_dir.resolve()):
        raise ValueError(
            f"--out must not lie in --videos, got {target}: written and source videos would mix."
        )
    return target


def _find_folder(videos_dir: Path, names: Iterable[str]) -> str | None:
    return next((name for name in names if (videos_dir / name).is_dir()), None)


def _inspect(paths: Sequence[str], inspection: Inspection, journal: Journal, *, num_workers: int) -> None:
    """Check each video unless the journal has a current finding."""
    wanted = list(dict.fromkeys(paths))
    due = [path for path in wanted if not inspection.is_current(journal.findings.get(path))]
    found = map_in_workers(inspection, due, num_workers=num_workers, chunksize=4)
    num_done = len(wanted) - len(due)
    for finding in tqdm(
        found, total=len(wanted), initial=num_done, desc="videos", unit="video", disable=None
    ):
        journal.add(finding)


def _why_none(splits: dict[str, _Split], videos_dir: Path) -> str:
    missing = [name for content in splits.values() for name in content.missing]
    unreadable = [error for content in splits.values() for error in content.unreadable.values()]
    if unreadable:
        return f"{videos_dir}: none of its videos can be read. The first: {unreadable[0]}"
    example = f", for example {missing[0]}" if missing else ""
    return f"{videos_dir}: must hold the annotated videos{example}, but holds none. Check --videos."


def _report(name: str, annotations: Annotations, splits: dict[str, _Split]) -> dict[str, Any]:
    trained = splits["train"].labels if "train" in splits else range(len(annotations.class_names))
    return {
        "dataset": name,
        "label_map_hash": label_map_hash(annotations.class_names),
        "num_classes": len(annotations.class_names),
        "untrained_classes": [name for i, name in enumerate(annotations.class_names) if i not in trained],
        "flip_label_pairs": mirror_pairs(annotations.class_names),
        "splits": {
            split: {
                "annotated": len(annotations.splits[split]),
                "readable": len(content.lines),
                "decoded_from_start": content.num_plain,
                "missing": sorted(content.missing),
                "unreadable": dict(sorted(content.unreadable.items())),
            }
            for split, content in splits.items()
        },
    }


def _recipe(
    report: dict[str, Any],
    annotations: Annotations,
    out_dir: Path,
    videos_dir: Path,
    dataset: str,
    template: str,
) -> str:
    """Return YAML to merge into a recipe, for listed videos or, with a template, folders of frames."""
    name, names = report["dataset"], annotations.class_names
    out, videos = out_dir.resolve(), videos_dir.resolve()
    data: dict[str, object] = {
        "DATASET": dataset,
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
    data["FLIP_LABEL_PAIRS"] = [list(pair) for pair in report["flip_label_pairs"]]
    comments = [f"# {name}: {len(names)} classes, label map {report['label_map_hash']}."]
    comments += [f"# A mirror exchanges: {names[a]} / {names[b]}." for a, b in report["flip_label_pairs"]]
    comments += [
        f"# It also exchanges {names[a]} / {names[b]} ({[a, b]}), which MMAction2 does not swap."
        for a, b in turn_pairs(names)
    ]
    content = {"MODEL": {"NUM_CLASSES": len(names)}, "DATA": data}
    return "\n".join(comments) + "\n" + yaml.safe_dump(content, sort_keys=False, default_flow_style=None)


def _log_report(report: dict[str, Any], out_dir: Path) -> None:
    for split, part in report["splits"].items():
        logger.info(
            f"{split}: {part['annotated']} annotated, {part['readable']} readable, "
            f"{len(part['missing'])} missing, {len(part['unreadable'])} unreadable."
        )
        for error in list(part["unreadable"].values())[:_MAX_NAMED]:
            logger.warning(f"{split}: unreadable: {error}")
        if num_plain := part["decoded_from_start"]:
            logger.info(f"{split}: {num_plain} are decoded from their start at each read; --transcode helps.")
    if untrained := report["untrained_classes"]:
        logger.warning(
            f"{len(untrained)} classes have no readable training video: "
            f"{', '.join(map(terminal_text, untrained[:_MAX_NAMED]))}."
        )
    logger.info(
        f"{report['num_classes']} classes, label map {report['label_map_hash'][:12]}. Lists, labels and "
        f"report.json are in {out_dir}."
    )
