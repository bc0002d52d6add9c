"""ShardedVideo, read_shard_list: random access to videos in tar files with webdataset's layout.

A shard is an uncompressed tar file with ``key.mp4`` (or another suffix) and ``key.cls``, the label, of each
video. The key ends at the first dot. The index beside the shard, ``NAME.tar.index``, has the position of each
video; a shard without an index is scanned. Every video can be read separately, so shuffling, distribution
and resuming work as with video files.
"""

import json
import os
import re
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from torch import Tensor

from tsn_tsm_plugin.data.annotations import Label, read_text_lines
from tsn_tsm_plugin.data.reader import VideoReader
from tsn_tsm_plugin.data.video_files import is_video
from tsn_tsm_plugin.errors import AnnotationError, VideoError
from tsn_tsm_plugin.log import get_logger
from tsn_tsm_plugin.paths import is_url, join, local_path, open_regular, read_bytes

logger = get_logger(__name__)

INDEX_SUFFIX = ".index"
LABEL_SUFFIX = "cls"
# Suffixes of metadata that webdataset tools add to a sample.
_OTHER_SUFFIXES = frozenset(("json", "txt", "key", "index"))
MAX_VIDEO_BYTES = 4 << 30
"""Largest video in a shard, in bytes; a larger video is refused, because videos are copied to be read."""
_MAX_LABEL_BYTES = 1 << 16
_CHUNK_BYTES = 1 << 20
_KEY_AND_SUFFIX = re.compile(r"((?:.*/)?[^./]+)\.([^/]*)")


class IndexedVideo(NamedTuple):
    """Position of a video in its shard: first byte and number of bytes."""

    name: str
    offset: int
    size: int
    labels: tuple[int, ...]


class ShardedVideo(NamedTuple):
    """A video of a list of shards.

    Attributes:
        name: Name of the file in the shard.
        path: Shard and name, for messages.
        label: Class of the video, or its classes in ascending order.
        shard: Path of the tar file.
        offset: First byte in the shard.
        size: Number of bytes.
    """

    name: str
    path: str
    label: Label
    shard: str
    offset: int
    size: int


def read_shard_list(
    path: str, *, prefix: str = "", num_classes: int = 0, multi_label: bool = False
) -> list[ShardedVideo]:
    """Read a list of shards, one path per line, and return the shards' videos.

    Args:
        path: The list file.
        prefix: Folder or URL put before each relative path.
        num_classes: Labels must be in ``[0, num_classes)``; 0 sets no upper limit.
        multi_label: Whether ``.cls`` files may contain several labels, separated by spaces.

    Raises:
        AnnotationError: If the list or a shard cannot be read, or a video has no valid label.
    """
    videos = []
    for shard in shards_of_list(path, prefix=prefix):
        for name, offset, size, labels in read_index(shard):
            path = f"{shard}/{name}"
            if len(labels) != 1 and not multi_label:
                raise AnnotationError(f"{path}: must have one label, got {labels}.")
            if num_classes and max(labels, default=0) >= num_classes:
                raise AnnotationError(
                    f"{path}: label must be below the number of classes, {num_classes}, got {max(labels)}."
                )
            label = labels if multi_label else labels[0]
            videos.append(ShardedVideo(name, path, label, shard, offset, size))
    return videos


def shards_of_list(path: str, *, prefix: str) -> list[str]:
    """Return the paths of the shards that a list names.

    Raises:
        AnnotationError: If the list cannot be read, is empty, or names a shard twice.
    """
    shards = [join(prefix, line.strip()) for line in read_text_lines(path) if line.strip()]
    if not shards:
        raise AnnotationError(f"{path}: must list at least one shard, got an empty list.")
    if len(set(shards)) < len(shards):
        repeated = next(shard for shard in shards if shards.count(shard) > 1)
        raise AnnotationError(f"{path}: must list each shard once, got {repeated} twice.")
    return shards


def read_index(shard: str) -> list[IndexedVideo]:
    """Return the videos of a shard, from its index if it exists.

    Raises:
        AnnotationError: If the index is malformed or belongs to another shard, or if a shard without an index
            is not a valid shard.
    """
    path = shard + INDEX_SUFFIX
    try:
        num_bytes, videos = _parse_index(json.loads(read_bytes(path)))
    except FileNotFoundError:
        logger.info(f"{shard} has no index and is scanned; prepare_dataset shards writes one.")
        return scan_shard(local_path(shard))
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise AnnotationError(f"{path}: is no index ({error!r}). Remove it: the shard is scanned.") from error
    if not is_url(shard) and Path(shard).exists():
        size = Path(shard).stat().st_size
        if size != num_bytes:
            raise AnnotationError(
                f"{path}: is the index of a shard of {num_bytes} bytes, but {shard} has {size}. Fetch both "
                "again, or remove the index: the shard is scanned."
            )
    return videos


def _parse_index(content: Any) -> tuple[int, list[IndexedVideo]]:
    """Return the shard's size and its videos; raise ValueError, TypeError or KeyError if malformed."""
    num_bytes, videos = content["bytes"], []
    for name, offset, size, labels in content["videos"]:
        if not isinstance(name, str) or not isinstance(labels, list):
            raise ValueError(f"video {name!r} must have a name and a list of labels, got {labels!r}")
        for number in (num_bytes, offset, size, *labels):
            if type(number) is not int or number < 0:
                raise ValueError(f"{name}: bytes and labels must be whole numbers from 0, got {number!r}")
        videos.append(IndexedVideo(name, offset, size, tuple(labels)))
    if not videos:
        raise ValueError("it lists no video")
    return num_bytes, videos


def index_text(shard: Path, videos: Sequence[IndexedVideo]) -> str:
    """Return the content of the index of a shard."""
    return json.dumps({"bytes": shard.stat().st_size, "videos": videos})


def scan_shard(shard: str) -> list[IndexedVideo]:
    """Return the videos of a shard from the headers of its members, in the order of the videos.

    Raises:
        AnnotationError: If the shard is missing, compressed, truncated or not a tar file, or a video has no
            label.
    """
    members: dict[str, tarfile.TarInfo] = {}
    labels: dict[str, tuple[int, ...]] = {}
    try:
        with open_regular(shard) as stored, tarfile.open(fileobj=stored, mode="r:") as tar:
            for member in tar:
                match = _KEY_AND_SUFFIX.fullmatch(member.name)
                if not member.isfile() or not match:
                    continue
                key, suffix = match[1], match[2].lower()
                if member.issparse():
                    what = f"{member.name} is stored with holes"
                    raise AnnotationError(f"{shard}: must be written without --sparse, but {what}.")
                if suffix == LABEL_SUFFIX:
                    file = tar.extractfile(member)
                    assert file is not None
                    labels[key] = _parse_labels(f"{shard}/{member.name}", file.read(_MAX_LABEL_BYTES))
                elif suffix in _OTHER_SUFFIXES:
                    continue
                elif key in members:
                    two = f"{members[key].name} and {member.name}"
                    raise AnnotationError(f"{shard}: must hold one video for each key, got {two}.")
                else:
                    members[key] = member
    except (OSError, tarfile.TarError, UnicodeError, OverflowError) as error:
        raise AnnotationError(
            f"{shard}: cannot be read as an uncompressed tar file ({error}). Fetch it again, or take it off "
            "the list."
        ) from error
    unlabelled = [member.name for key, member in members.items() if key not in labels]
    if unlabelled or not members:
        what = f"{unlabelled[0]} has none" if unlabelled else "it holds no video"
        raise AnnotationError(f"{shard}: must hold videos with labels ({LABEL_SUFFIX} files), but {what}.")
    return [IndexedVideo(m.name, m.offset_data, m.size, labels[key]) for key, m in members.items()]


def _parse_labels(location: str, content: bytes) -> tuple[int, ...]:
    words = content.split()
    if not all(word.isdigit() and len(word) < 19 for word in words):
        raise AnnotationError(f"{location}: must hold a label, a number from 0, got {content[:40]!r}.")
    return tuple(sorted({int(word) for word in words}))


class ShardedVideoReader(VideoReader):
    """Read exact frames of a video in a shard, through a temporary copy of this video.

    Args:
        video: Entry of the video.
        options: Keyword arguments of `VideoReader`.

    Raises:
        VideoError: If the shard cannot be fetched or is truncated, or the content is not a readable video.
            The message starts with the shard and the name.
    """

    def __init__(self, video: ShardedVideo, **options: Any) -> None:
        self._video = video
        suffix = Path(video.name).suffix if is_video(video.name) else ""
        self._copy: IO[bytes] = tempfile.NamedTemporaryFile(suffix=suffix)  # noqa: SIM115
        try:
            _copy_slice(video, self._copy)
            self._copy.flush()
            super().__init__(self._copy.name, **options)
        except VideoError as error:
            self._copy.close()
            raise self._named(error) from error

    def _named(self, error: VideoError) -> VideoError:
        return VideoError(str(error).replace(self._copy.name, self._video.path))

    def read(self, indices: Sequence[int] | Tensor | np.ndarray) -> Tensor:
        """Decode the frames at ``indices``, uint8 RGB 0-255 (T, 3, H, W), as `VideoReader.read` does."""
        try:
            return super().read(indices)
        except VideoError as error:
            raise self._named(error) from error

    def close(self) -> None:
        """Release the decoder and delete the copy."""
        super().close()
        self._copy.close()


def _copy_slice(video: ShardedVideo, copy: IO[bytes]) -> None:
    end = video.offset + video.size
    if video.size > MAX_VIDEO_BYTES:
        raise VideoError(
            f"{video.path}: its shard claims {video.size} bytes for it, and at most {MAX_VIDEO_BYTES} are "
            "allowed. Keep larger videos as files."
        )
    try:
        with open_regular(local_path(video.shard)) as shard:
            num_bytes = os.fstat(shard.fileno()).st_size
            if not 0 <= video.offset <= end <= num_bytes:
                raise VideoError(
                    f"{video.path}: its shard is cut short: it should be at bytes {video.offset} to {end} of "
                    f"{num_bytes}. Fetch the shard again."
                )
            shard.seek(video.offset)
            for position in range(0, video.size, _CHUNK_BYTES):
                copy.write(shard.read(min(_CHUNK_BYTES, video.size - position)))
    except OSError as error:
        raise VideoError(f"{video.path}: its shard cannot be read ({error.strerror or error}).") from error
