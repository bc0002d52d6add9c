"""write_shards: write the videos of a list into shards; `tsn_tsm_plugin.data.shards` describes the layout."""

import io
import os
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from tqdm import tqdm

from tsn_tsm_plugin.atomic_files import replace_when_whole, write_text_atomically
from tsn_tsm_plugin.data.annotations import VideoEntry
from tsn_tsm_plugin.data.preparation.prepare import write_if_changed
from tsn_tsm_plugin.data.shards import INDEX_SUFFIX, LABEL_SUFFIX, index_text, scan_shard
from tsn_tsm_plugin.errors import AnnotationError
from tsn_tsm_plugin.log import get_logger
from tsn_tsm_plugin.paths import local_path, open_regular, read_text

logger = get_logger(__name__)


def write_shards(
    entries: Sequence[VideoEntry], out_dir: Path, *, name: str, max_shard_bytes: int = 1 << 30
) -> Path:
    """Write shards ``NAME-000000.tar``, ..., their indices, and ``NAME.txt``, the list of the shards.

    The same videos give the same bytes. Complete shards are kept, so interrupted work continues.

    Args:
        entries: The videos, in the order of writing.
        out_dir: Folder of the written files.
        name: Name of the list and the shards.
        max_shard_bytes: Largest size of a shard, unless it holds a single video.

    Returns:
        The list file.

    Raises:
        AnnotationError: If two videos would have the same key.
        OSError: If a video cannot be read, or a shard cannot be written.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    _check_keys(entries)
    names = []
    with tqdm(total=len(entries), desc="shards", unit="video", disable=None) as progress:
        for number, part in enumerate(_parts(entries, max_shard_bytes)):
            shard = out_dir / f"{name}-{number:06d}.tar"
            names.append(shard.name)
            if not _is_whole(shard, part):
                _write_shard(shard, part)
            progress.update(len(part))
    list_file = out_dir / f"{name}.txt"
    write_if_changed(list_file, "".join(f"{shard}\n" for shard in names))
    logger.info(f"{len(entries)} videos are in {len(names)} shards, listed in {list_file}.")
    return list_file


def member_name(entry: VideoEntry) -> str:
    """Return the name of a video in its shard; earlier dots become underscores: a dot ends the key."""
    suffix = Path(entry.name).suffix
    return entry.name.removesuffix(suffix).lstrip("/").replace(".", "_") + suffix


def _check_keys(entries: Sequence[VideoEntry]) -> None:
    seen: dict[str, str] = {}
    for entry in entries:
        key = member_name(entry).rpartition(".")[0]
        if not key:
            raise AnnotationError(f"{entry.name}: must have a suffix, such as .mp4, to lie in a shard.")
        if key in seen:
            raise AnnotationError(
                f"{seen[key]} and {entry.name} would have one key, {key}. Rename one of them."
            )
        seen[key] = entry.name


def _parts(entries: Sequence[VideoEntry], max_shard_bytes: int) -> Iterator[list[VideoEntry]]:
    part: list[VideoEntry] = []
    total = 0
    for entry in entries:
        size = _size(entry)
        if part and total + size > max_shard_bytes:
            yield part
            part, total = [], 0
        part.append(entry)
        total += size
    if part:
        yield part


def _size(entry: VideoEntry) -> int:
    return Path(local_path(entry.path)).stat().st_size


def _is_whole(shard: Path, part: Sequence[VideoEntry]) -> bool:
    """Return whether a shard and its index hold exactly these videos."""
    try:
        found = scan_shard(str(shard))
        if read_text(_index_path(shard)) != index_text(shard, found):
            return False
    except (OSError, AnnotationError):
        return False
    wanted = [(member_name(entry), _size(entry), _labels(entry)) for entry in part]
    return [(video.name, video.size, video.labels) for video in found] == wanted


def _labels(entry: VideoEntry) -> tuple[int, ...]:
    return entry.label if isinstance(entry.label, tuple) else (entry.label,)


def _write_shard(shard: Path, part: Sequence[VideoEntry]) -> None:
    with replace_when_whole(shard) as partial:
        with tarfile.open(partial, "w:", format=tarfile.GNU_FORMAT) as tar:
            for entry in part:
                video = member_name(entry)
                with open_regular(local_path(entry.path)) as file:
                    tar.addfile(_member(video, os.fstat(file.fileno()).st_size), file)
                text = " ".join(map(str, _labels(entry))).encode()
                label_name = f"{video.rpartition('.')[0]}.{LABEL_SUFFIX}"
                tar.addfile(_member(label_name, len(text)), io.BytesIO(text))
        index = index_text(partial, scan_shard(str(partial)))
        # Delete the former shard's index, which must not describe the new shard.
        _index_path(shard).unlink(missing_ok=True)
    write_text_atomically(_index_path(shard), index)


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size = size
    return member


def _index_path(shard: Path) -> Path:
    return shard.with_name(shard.name + INDEX_SUFFIX)
