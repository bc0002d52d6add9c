"""read_kinetics: read CSV files with the columns ``label, youtube_id, time_start, time_end, split``.

Labels are positions of the classes in alphabetical order. A clip is the file ``id_000010_000020.mp4``: the
YouTube id and the seconds, six digits each. The official test list has no ``label`` and cannot be used.
"""

from pathlib import Path

from tsn_tsm_plugin.data.preparation.annotations import (
    AnnotatedVideo,
    Annotations,
    find_files,
    numbered,
    read_table,
)
from tsn_tsm_plugin.errors import AnnotationError

_COLUMNS = ("youtube_id", "time_start", "time_end", "split")
_SPLITS = {"train": "train", "val": "val", "validate": "val", "validation": "val", "test": "test"}


def read_kinetics(folder: Path) -> Annotations:
    """Read every CSV file of a folder; skip clips without a label, as in the official test list."""
    paths = find_files(folder, "*.csv")
    if not paths:
        raise AnnotationError(f"{folder}: must hold train.csv and val.csv of Kinetics. Check --annotations.")
    rows = [(f"{path}:{number}", row) for path in paths for number, row in read_table(path, _COLUMNS)]
    class_names = sorted({row.get("label", "").strip() for _, row in rows} - {""})
    labels = numbered(class_names)
    splits: dict[str, list[AnnotatedVideo]] = {"train": [], "val": []}
    for location, row in rows:
        split = _SPLITS.get(row["split"].strip())
        if split is None:
            raise AnnotationError(
                f"{location}: split must be one of {', '.join(_SPLITS)}, got {row['split']!r}."
            )
        if split != "test" and "label" not in row:
            raise AnnotationError(f"{location.rpartition(':')[0]}:1: must have the column label.")
        if label := row.get("label", "").strip():
            video = AnnotatedVideo(_names(row, location), labels[label])
            splits.setdefault(split, []).append(video)
    return Annotations(class_names, splits)


def _names(row: dict[str, str], location: str) -> tuple[str, ...]:
    try:
        start, end = (int(float(row[column])) for column in ("time_start", "time_end"))
    except ValueError:
        raise AnnotationError(
            f"{location}: time_start and time_end must be seconds, got {row['time_start']!r} and "
            f"{row['time_end']!r}."
        ) from None
    return f"{row['youtube_id']}_{start:06d}_{end:06d}", row["youtube_id"]
