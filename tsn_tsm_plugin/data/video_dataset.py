"""VideoListDataset, StackedReader: read the videos of a list as PyTorchVideo's clip dictionaries."""

import hashlib
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import Dataset

from tsn_tsm_plugin.data.annotations import Label, VideoEntry
from tsn_tsm_plugin.data.collate import BadVideo, ClipDict
from tsn_tsm_plugin.data.reader import VideoReader
from tsn_tsm_plugin.data.samplers import SampleKey
from tsn_tsm_plugin.errors import VideoError
from tsn_tsm_plugin.paths import local_path
from tsn_tsm_plugin.transforms.segments import IndexSampler

MAX_SIDE_RATIO = 50
"""Largest ratio of a frame's long side to its short side; other frames are refused."""

ClipTransform = Callable[[ClipDict, torch.Generator | None], ClipDict]


class FrameReader(Protocol):
    """Interface of an opened video; `VideoReader` and `FrameFolderReader` implement it."""

    @property
    def num_frames(self) -> int:
        """Number of frames."""

    def read(self, indices: Tensor) -> Tensor:
        """Return the frames at ``indices``, uint8 (T, C, H, W)."""

    def close(self) -> None:
        """Close the video."""


class ListedVideo(Protocol):
    """Interface of a line of a list; `VideoEntry` and `ShardedVideo` implement it."""

    @property
    def name(self) -> str:
        """Name as written in the list."""

    @property
    def path(self) -> str:
        """Path, for messages."""

    @property
    def label(self) -> Label:
        """Class or classes of the video."""


OpenVideo = Callable[[Any], FrameReader]
"""Function from an element of the list to its opened video."""


def open_video_file(entry: VideoEntry, **options: Any) -> VideoReader:
    """Open a video file; fetch it first if its path is a URL.

    Args:
        entry: Line of the list.
        options: Keyword arguments of `VideoReader`.

    Raises:
        VideoError: If the file cannot be fetched or is not a readable video.
    """
    try:
        path = local_path(entry.path)
    except OSError as error:
        raise VideoError(
            f"{entry.path}: cannot be fetched ({error}). Check the URL and its access."
        ) from error
    return VideoReader(path, **options)


class StackedReader:
    """Read stacks: index ``i`` has the frames ``i`` to ``i + length - 1``, concatenated along the channels.

    A video that is shorter than a stack repeats its last frame, as in the references.

    Args:
        reader: Reader of single frames.
        length: Number of frames of a stack.
    """

    def __init__(self, reader: FrameReader, length: int) -> None:
        self.reader = reader
        self.length = length

    @property
    def num_frames(self) -> int:
        """Number of stacks."""
        return max(1, self.reader.num_frames - self.length + 1)

    @property
    def fps(self) -> float:
        """Stacks per second; 0.0 if unknown."""
        return float(getattr(self.reader, "fps", 0.0))

    def read(self, indices: Tensor) -> Tensor:
        """Return the stacks at ``indices``, uint8 (T, length * C, H, W)."""
        steps = torch.as_tensor(indices)[:, None] + torch.arange(self.length)
        frames = self.reader.read(steps.clamp(max=self.reader.num_frames - 1).flatten())
        return frames.unflatten(0, (-1, self.length)).flatten(1, 2)

    def close(self) -> None:
        """Close the video."""
        self.reader.close()


def open_stacked(entry: Any, *, open_video: OpenVideo, length: int) -> StackedReader:
    """Open a video for reading in stacks."""
    return StackedReader(open_video(entry), length)


def sample_seed(seed: int, key: SampleKey) -> int:
    """Mix the run's seed and the key into a 63-bit seed; similar keys give unrelated random numbers."""
    text = f"{seed}/{key.epoch}/{key.video_index}" + (f"/{key.repeat}" if key.repeat else "")
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def _check_shape(path: str, height: int, width: int) -> None:
    if max(height, width) > MAX_SIDE_RATIO * min(height, width):
        raise VideoError(
            f"{path}: has frames of {width}x{height} pixels; one side must be at most {MAX_SIDE_RATIO} times "
            "the other, otherwise scaling the short side could take unlimited memory. Remove it from "
            "the list."
        )


class VideoListDataset(Dataset[ClipDict | BadVideo]):
    """Read the frames of one clip per video.

    Every random number of a clip comes from one generator. Its seed depends on the run's seed, the epoch, the
    list position and the number of earlier reads in the epoch. An unreadable video becomes a ``BadVideo``,
    never another video.

    Args:
        entries: The videos, as ``read_video_list`` or ``read_shard_list`` returns them.
        index_sampler: Function from number of frames and generator to the frames to read, LongTensor (T,).
        clip_transform: Function from a clip dictionary with ``video`` uint8 (C, T, H, W) and a generator to a
            clip dictionary. All resulting videos must have one shape.
        open_video: Function that opens the video of an entry, or raises VideoError. Spawned workers need a
            picklable function.
        seed: Seed of the run.
    """

    def __init__(
        self,
        entries: Sequence[ListedVideo],
        *,
        index_sampler: IndexSampler,
        clip_transform: ClipTransform,
        open_video: OpenVideo = open_video_file,
        seed: int = 0,
    ) -> None:
        self.entries = list(entries)
        self.index_sampler = index_sampler
        self.clip_transform = clip_transform
        self.open_video = open_video
        self.seed = seed

    def __len__(self) -> int:
        """Return the number of videos."""
        return len(self.entries)

    def __getitem__(self, key: SampleKey | int) -> ClipDict | BadVideo:
        """Return one clip of a video; a plain index reads the video as in epoch 0."""
        if not isinstance(key, SampleKey):
            key = SampleKey(0, key)
        entry = self.entries[key.video_index]
        generator = torch.Generator().manual_seed(sample_seed(self.seed, key))
        try:
            with closing(self.open_video(entry)) as reader:
                frames_TCHW = reader.read(self.index_sampler(reader.num_frames, generator))
            _check_shape(entry.path, *frames_TCHW.shape[-2:])
        except VideoError as error:
            return BadVideo(entry.path, key.video_index, str(error))
        clip = {
            "video": frames_TCHW.permute(1, 0, 2, 3),
            "label": entry.label,
            "video_name": entry.name,
            "video_index": key.video_index,
            "clip_index": 0,
            "aug_index": 0,
        }
        try:
            return self.clip_transform(clip, generator)
        except ValueError as error:  # For example a frame that is smaller than the crop.
            return BadVideo(entry.path, key.video_index, f"{entry.path}: {error}")
