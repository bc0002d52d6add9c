"""recipe_lines: write the keys of a recipe for a prepared dataset as YAML."""

import os
from pathlib import Path

import yaml

from tsn_tsm_plugin.data.annotations import label_map_hash
from tsn_tsm_plugin.data.preparation.annotations import Annotations
from tsn_tsm_plugin.data.preparation.catalog import OFFICIAL_DATASETS, Storage
from tsn_tsm_plugin.data.preparation.convert import Conversion, FrameExtraction
from tsn_tsm_plugin.data.preparation.flip_label_pairs import mirror_pairs, turn_pairs


def recipe_lines(
    name: str,
    annotations: Annotations,
    *,
    out_dir: Path,
    videos_dir: Path,
    storage: Storage,
    conversion: Conversion | None,
) -> str:
    """Return YAML to merge into a recipe.

    Args:
        name: Name of the dataset.
        annotations: Classes and splits.
        out_dir: Folder of lists and label map.
        videos_dir: Folder of the listed videos; written relative to ``out_dir`` if inside ``out_dir``.
        storage: Storage of the videos, unless converted.
        conversion: Conversion of the videos, if any.
    """
    frames = conversion if isinstance(conversion, FrameExtraction) else storage
    is_frames = isinstance(conversion, FrameExtraction) or (bool(storage.template) and conversion is None)
    names = annotations.class_names
    out, videos = out_dir.resolve(), videos_dir.resolve()
    data: dict[str, object] = {
        "DATASET": name if name in OFFICIAL_DATASETS else "",
        "PATH_TO_DATA_DIR": str(out),
        "PATH_PREFIX": os.path.relpath(videos, out) if videos.is_relative_to(out) else str(videos),
        "TRAIN_LIST": "train.txt",
        "VAL_LIST": "val.txt" if annotations.splits.get("val") else "",
        "LABEL_MAP": "labels.txt",
        "FORMAT": "frames" if is_frames else "videos",
    }
    if annotations.splits.get("test"):
        data["TEST_LIST"] = "test.txt"
    if is_frames:
        data |= {"FRAME_TEMPLATE": frames.template, "FRAME_START_INDEX": frames.start_index}
    data["FLIP_LABEL_PAIRS"] = [list(pair) for pair in mirror_pairs(names)]
    comments = [f"# {name}: {len(names)} classes, label map {label_map_hash(names)}."]
    comments += [f"# A mirror exchanges: {names[a]} / {names[b]}." for a, b in mirror_pairs(names)]
    comments += [
        f"# It also exchanges {names[a]} / {names[b]} ({[a, b]}), which MMAction2 does not swap."
        for a, b in turn_pairs(names)
    ]
    content = {"MODEL": {"NUM_CLASSES": len(names)}, "DATA": data}
    return "\n".join(comments) + "\n" + yaml.safe_dump(content, sort_keys=False, default_flow_style=None)
