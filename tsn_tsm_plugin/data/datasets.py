"""SplitRequest, videos, frames, shards: the datasets that ``DATA.FORMAT`` names."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tsn_tsm_plugin.data.annotations import VideoEntry, read_video_list
from tsn_tsm_plugin.data.frame_folder import FlowFolderReader, FrameFolderReader
from tsn_tsm_plugin.data.shards import ShardedVideoReader, read_shard_list
from tsn_tsm_plugin.data.video_dataset import (
    ClipTransform,
    ListedVideo,
    OpenVideo,
    VideoListDataset,
    open_stacked,
    open_video_file,
)
from tsn_tsm_plugin.transforms.segments import IndexSampler


@dataclass(frozen=True)
class SplitRequest:
    """Description of the split that a dataset is built for.

    Attributes:
        split: ``"train"``, ``"val"`` or ``"test"``.
        list_file: Path or URL of the split's list.
        prefix: Folder or URL put before each relative path of the list.
        num_classes: Labels must be in ``[0, num_classes)``.
        multi_label: Whether a video may have several labels.
        index_sampler: Function from a video's number of frames to the frames to read, see `VideoListDataset`.
        clip_transform: Transform of the clips, see `VideoListDataset`.
        seed: Seed of the run.
        reader: Keyword arguments of `VideoReader`.
        num_stacked: Consecutive frames stacked as the channels of one segment.
        is_flow: Whether frames are optical flow.
    """

    split: str
    list_file: str
    prefix: str
    num_classes: int
    multi_label: bool
    index_sampler: IndexSampler
    clip_transform: ClipTransform
    seed: int
    reader: Mapping[str, Any]
    num_stacked: int = 1
    is_flow: bool = False

    def read_list(self, **lines: Any) -> list[VideoEntry]:
        """Return the videos of the list; the arguments are further arguments of `read_video_list`."""
        return read_video_list(
            self.list_file,
            prefix=self.prefix,
            num_classes=self.num_classes,
            multi_label=self.multi_label,
            **lines,
        )

    def dataset(self, entries: Sequence[ListedVideo], open_video: OpenVideo) -> VideoListDataset:
        """Return the dataset of these videos, which ``open_video`` opens."""
        if self.num_stacked > 1:
            open_video = functools.partial(open_stacked, open_video=open_video, length=self.num_stacked)
        return VideoListDataset(
            entries,
            index_sampler=self.index_sampler,
            clip_transform=self.clip_transform,
            open_video=open_video,
            seed=self.seed,
        )


def videos(request: SplitRequest, *, separator: str = " ") -> VideoListDataset:
    """Create the dataset of video files: ``path label`` in each line of the list.

    Args:
        request: The split.
        separator: Separator between path and label.

    Raises:
        AnnotationError: If the list file is missing or malformed.
    """
    entries = request.read_list(separator=separator)
    return request.dataset(entries, functools.partial(open_video_file, **request.reader))


def frames(
    request: SplitRequest, *, separator: str = " ", template: str = "img_{:05}.jpg", start_index: int = 1
) -> VideoListDataset:
    """Create the dataset of folders of images: ``path number-of-frames label`` in each line of the list.

    Args:
        request: The split.
        separator: Separator between path, number and label.
        template: Name of a frame's file, with one field for its number; for flow see `flow_templates`.
        start_index: Number of the first frame.

    Raises:
        AnnotationError: If the list file is missing or malformed.
    """
    entries = request.read_list(separator=separator, has_frame_counts=True)
    reader = FlowFolderReader if request.is_flow else FrameFolderReader
    open_video = functools.partial(_open_folder, reader=reader, template=template, start_index=start_index)
    return request.dataset(entries, open_video)


def _open_folder(
    entry: VideoEntry, *, reader: type[FrameFolderReader | FlowFolderReader], **names: Any
) -> FrameFolderReader | FlowFolderReader:
    return reader(entry.path, num_frames=entry.num_frames, **names)


def shards(request: SplitRequest) -> VideoListDataset:
    """Create the dataset of videos in tar files: the path of one tar file in each line of the list.

    Args:
        request: The split.

    Raises:
        AnnotationError: If the list or a shard is missing or malformed.
    """
    entries = read_shard_list(
        request.list_file,
        prefix=request.prefix,
        num_classes=request.num_classes,
        multi_label=request.multi_label,
    )
    return request.dataset(entries, functools.partial(ShardedVideoReader, **request.reader))
