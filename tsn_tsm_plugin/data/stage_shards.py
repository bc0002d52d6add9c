"""copy_shards, with_staged_shards: copy shards to a node's local disk, checked by size and hash.

A copy ``NAME-HASH.tar`` is complete if ``NAME-HASH.tar.json``, which is written last, describes it.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tsn_tsm_plugin.atomic_files import write_atomically, write_text_atomically
from tsn_tsm_plugin.data.shards import ShardedVideo
from tsn_tsm_plugin.errors import ConfigError
from tsn_tsm_plugin.file_lock import lock_file
from tsn_tsm_plugin.log import get_logger
from tsn_tsm_plugin.paths import open_regular, read_text

logger = get_logger(__name__)

_CHUNK_BYTES = 1 << 22
_HINT = "Make room there, or set DATA.STAGE_TO to another folder or to ''."


def staging_folder(stage_to: str) -> Path:
    """Return the folder of ``DATA.STAGE_TO``, with ``~`` and variables expanded.

    Raises:
        ConfigError: If a variable is not set.
    """
    path = os.path.expanduser(os.path.expandvars(stage_to))  # noqa: PTH111
    if "$" in path:
        raise ConfigError(f"DATA.STAGE_TO must name variables that are set on the node, got {stage_to!r}.")
    return Path(path)


def with_staged_shards(entries: Sequence[Any], folder: Path) -> list[Any]:
    """Replace the shards of a dataset's videos by their complete copies, if any."""
    shards = {entry.shard for entry in entries if isinstance(entry, ShardedVideo)}
    copies = {shard: str(_copy_of(shard, folder)) for shard in shards if _record_of(shard, folder).exists()}
    return [
        entry._replace(shard=copies[entry.shard]) if getattr(entry, "shard", "") in copies else entry
        for entry in entries
    ]


def copy_shards(shards: Sequence[str], folder: Path, *, advance: Callable[[int], None]) -> None:
    """Copy shards into a folder, one process at a time; skip shards with a complete copy.

    Args:
        shards: Local paths of the shards.
        folder: Folder of the copies, created if missing.
        advance: Function that receives the number of bytes after each progress.

    Raises:
        ConfigError: If the folder has too little free space or cannot be written.
        RunFolderError: If a copy cannot be written.
        OSError: If a shard cannot be read.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("a")
    except OSError as error:
        raise ConfigError(f"DATA.STAGE_TO {folder} cannot be written: {error.strerror}. {_HINT}") from error
    with lock:
        lock_file(lock, wait=True)
        missing = []
        for shard in shards:
            if _is_whole(shard, folder):
                advance(Path(shard).stat().st_size)
            else:
                missing.append(shard)
        needed = sum(Path(shard).stat().st_size for shard in missing)
        free = shutil.disk_usage(folder).free
        if needed > free:
            raise ConfigError(
                f"DATA.STAGE_TO {folder} has {free / 2**30:.1f} GiB free, and {len(missing)} shards need "
                f"{needed / 2**30:.1f} GiB. {_HINT}"
            )
        for shard in missing:
            _copy(shard, folder, advance)
        logger.info(f"{len(shards)} shards are in {folder}; {len(missing)} were copied.")


def _copy_of(shard: str, folder: Path) -> Path:
    path = Path(shard)
    return folder / f"{path.stem}-{hashlib.sha256(shard.encode()).hexdigest()[:10]}{path.suffix}"


def _record_of(shard: str, folder: Path) -> Path:
    copy = _copy_of(shard, folder)
    return copy.with_name(f"{copy.name}.json")


def _is_whole(shard: str, folder: Path) -> bool:
    """Return whether the copy has the size and hash of the shard, and the shard has not changed since."""
    copy, source = _copy_of(shard, folder), Path(shard).stat()
    try:
        record = json.loads(read_text(_record_of(shard, folder)))
        is_current = [record["bytes"], record["mtime_ns"]] == [source.st_size, source.st_mtime_ns]
        return is_current and copy.stat().st_size == source.st_size and record["sha256"] == _sha256(copy)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _copy(shard: str, folder: Path, advance: Callable[[int], None]) -> None:
    copy, record, source = _copy_of(shard, folder), _record_of(shard, folder), Path(shard).stat()
    record.unlink(missing_ok=True)
    digest = hashlib.sha256()
    with open_regular(shard) as original, write_atomically(copy, binary=True, hint=_HINT) as file:
        while chunk := original.read(_CHUNK_BYTES):
            digest.update(chunk)
            file.write(chunk)
            advance(len(chunk))
    if _sha256(copy) != digest.hexdigest():
        raise ConfigError(f"DATA.STAGE_TO: {copy} differs from {shard}: the disk may be damaged. {_HINT}")
    content = {
        "shard": shard,
        "bytes": source.st_size,
        "mtime_ns": source.st_mtime_ns,
        "sha256": digest.hexdigest(),
    }
    write_text_atomically(record, json.dumps(content) + "\n", hint=_HINT)


def _sha256(path: Path) -> str:
    with open_regular(str(path)) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
