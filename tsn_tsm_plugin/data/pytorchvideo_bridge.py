"""SparsePathHandler, WholeVideoSampler, ...: make PyTorchVideo's datasets read only sampled frames.

    >>> from pytorchvideo.data import LabeledVideoDataset
    >>> from tsn_tsm_plugin.transforms import uniform_sampler
    >>> videos = [("a.mp4", {"label": 3}), ("b.mp4", {"label": 5})]
    >>> dataset = LabeledVideoDataset(videos, WholeVideoSampler(), decode_audio=False)
    >>> dataset.video_path_handler = SparsePathHandler(uniform_sampler(8, mode="train"))

These classes can be sent to workers, even spawned workers: unpickling imports this package. Only
`SegmentClipSampler` needs activation. Times address frames through the mean frame rate: second s is frame
ceil(s * fps). The whole video is exactly all frames; a window of a video with a variable rate is approximate.

Axes: C channels, T frames, H rows, W columns.
"""

import math
import os
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import torch
from pytorchvideo.data.clip_sampling import ClipInfo, ClipSampler
from pytorchvideo.data.video import Video, VideoPathHandler
from torch import Tensor

from tsn_tsm_plugin.data.reader import VideoReader
from tsn_tsm_plugin.errors import VideoError
from tsn_tsm_plugin.log import get_logger
from tsn_tsm_plugin.pytorchvideo_patch.activate import activate, is_active
from tsn_tsm_plugin.registry import DECODERS, SAMPLERS
from tsn_tsm_plugin.storage import manager_of
from tsn_tsm_plugin.transforms.segments import IndexSampler

logger = get_logger(__name__)


class WholeVideoSampler(ClipSampler):
    """Sample one clip per video, from its first frame to its last.

    Args:
        augs_per_clip: How often the clip is returned, with ``aug_index`` 0, 1, ...; 3 suits PyTorchVideo's
            ``UniformCropVideo``.

    Raises:
        ValueError: If ``augs_per_clip`` is less than 1.
    """

    def __init__(self, augs_per_clip: int = 1) -> None:
        if augs_per_clip < 1:
            raise ValueError(f"augs_per_clip must be at least 1, got {augs_per_clip}.")
        super().__init__(clip_duration=0)
        self._augs_per_clip = augs_per_clip

    def __call__(
        self,
        last_clip_time: float | Fraction | None,
        video_duration: float | Fraction,
        annotation: dict[str, Any],
    ) -> ClipInfo:
        """Return the clip [0, video_duration) in seconds; the end of the last clip is ignored."""
        aug_index = self._current_aug_index
        self._current_aug_index += 1
        is_last_clip = self._current_aug_index == self._augs_per_clip
        if is_last_clip:
            self.reset()
        return ClipInfo(Fraction(0), video_duration, 0, aug_index, is_last_clip)

    def reset(self) -> None:
        """Start again with the first clip."""
        self._current_aug_index = 0


class SparseVideo(Video):
    """A video with uint8 clips of only the frames that an index sampler picks.

    Args:
        path: The video file.
        index_sampler: Function of the number of frames in a clip's window and None, the global generator.
        options: Keyword arguments of `VideoReader`.
    """

    def __init__(self, path: str, *, index_sampler: IndexSampler, **options: Any) -> None:
        self._path = path
        self._index_sampler = index_sampler
        self._options = options
        self._reader: VideoReader | None = None
        self.name = Path(path).name

    def open(self) -> VideoReader:
        """Return the reader, opened on first use.

        Raises:
            VideoError: If the file is not a readable video.
        """
        if self._reader is None:
            self._reader = VideoReader(self._path, **self._options)
        return self._reader

    @property
    def duration(self) -> Fraction:
        """Duration of the frames at the file's mean rate, in seconds; 1 frame per second if unknown."""
        return self.open().num_frames / self._rate()

    def get_clip(self, start_sec: float | Fraction, end_sec: float | Fraction) -> dict[str, Tensor | None]:
        """Read frames within [start_sec, end_sec): frames in [ceil(start * fps), ceil(end * fps)).

        Returns:
            ``video``: RGB 0-255 (C, T, H, W), None if the window has no frame; ``audio``: None.
        """
        first, end = (
            math.ceil(Fraction(second) * self._rate())
            for second in (max(0, start_sec), min(end_sec, self.duration))
        )
        video = None
        if first < end:
            video = self.open().read(first + self._index_sampler(end - first, None)).permute(1, 0, 2, 3)
        return {"video": video, "audio": None}

    def close(self) -> None:
        """Release the decoder."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _rate(self) -> Fraction:
        return Fraction(self.open().fps or 1)


class ExactVideo(SparseVideo):
    """A decoder for PyTorchVideo's ``decoder=`` argument, which gives every frame of a clip as float32.

    PyTorchVideo passes the file's bytes, which are written to a temporary file for the decoders that read
    by index. `SparsePathHandler` reads the original file, and only the sampled frames.

    Args:
        file: The encoded video.
        video_name: Name returned with the clips.
        decode_audio: Ignored; clips have no audio.
        decode_video: Must be True.
        decoder: A name in the ``DECODERS`` registry, or ``"auto"``.

    Raises:
        VideoError: If the bytes are not a readable video.
    """

    def __init__(
        self,
        file: BinaryIO,
        video_name: str = "",
        decode_audio: bool = False,
        *,
        decode_video: bool = True,
        decoder: str = "auto",
    ) -> None:
        if not decode_video:
            raise ValueError("decode_video must be True: this decoder gives frames only, got False.")
        self._copy = tempfile.NamedTemporaryFile(suffix=Path(video_name).suffix)  # noqa: SIM115
        self._copy.write(file.read())
        self._copy.flush()
        super().__init__(
            self._copy.name, index_sampler=lambda length, _: torch.arange(length), decoder=decoder
        )
        self.name = video_name
        try:
            self.open()
        except VideoError as error:
            self.close()
            raise VideoError(f"{video_name}: {error}") from error

    def get_clip(self, start_sec: float | Fraction, end_sec: float | Fraction) -> dict[str, Tensor | None]:
        """Read every frame within [start_sec, end_sec) as float32; see :meth:`SparseVideo.get_clip`."""
        clip = super().get_clip(start_sec, end_sec)
        return clip if clip["video"] is None else {**clip, "video": clip["video"].float()}

    def close(self) -> None:
        """Release the decoder and delete the temporary file."""
        super().close()
        self._copy.close()


class SparsePathHandler(VideoPathHandler):
    """Open the videos of a PyTorchVideo dataset for reading by frame index.

    PyTorchVideo silently skips a video that fails to open. This class raises a `VideoError` unless
    ``skip_bad_videos`` is set; a skipped video is logged as a warning.

    Args:
        index_sampler: Sampler of the frames of a clip: a ``uniform_sampler``, a ``dense_sampler``, or any
            picklable function with the same arguments.
        decoder: A name in the ``DECODERS`` registry, or ``"auto"``.
        num_threads: Threads of the decoder; use 1 inside data-loader workers.
        skip_bad_videos: Skip videos that cannot be opened.
    """

    def __init__(
        self,
        index_sampler: IndexSampler,
        *,
        decoder: str = "auto",
        num_threads: int = 1,
        skip_bad_videos: bool = False,
    ) -> None:
        super().__init__()
        self._index_sampler = index_sampler
        self._options = {"decoder": decoder, "num_threads": num_threads}
        self._skip_bad_videos = skip_bad_videos

    def video_from_path(self, filepath: str | os.PathLike[str], *_: Any, **__: Any) -> SparseVideo:
        """Return the video at a local path or any path that iopath can fetch.

        The dataset's own arguments (audio, decoder, frame rate, by version of PyTorchVideo) do not apply.
        """
        video = SparseVideo(
            manager_of(filepath).get_local_path(os.fspath(filepath)),
            index_sampler=self._index_sampler,
            **self._options,
        )
        if self._skip_bad_videos:
            try:
                video.open()
            except VideoError as error:
                logger.warning("Skipping a bad video: %s", error)
                raise
        return video


class SegmentClipSampler(WholeVideoSampler):
    """Sample one clip per video with only the frames of an index sampler, and read each frame once.

    If this package is active, ``LabeledVideoDataset`` and ``labeled_video_dataset`` with this sampler read
    by frame number. Clips are uint8 and have no audio. A video that cannot be read raises `VideoError`.

    Args:
        index_sampler: Function from a number of frames to frame numbers, such as a ``uniform_sampler``.
        augs_per_clip: See `WholeVideoSampler`.
    """

    def __init__(self, index_sampler: IndexSampler, augs_per_clip: int = 1) -> None:
        super().__init__(augs_per_clip)
        self.index_sampler = index_sampler
        self.is_served = False

    @classmethod
    def named(
        cls,
        name: str,
        num_segments: int | None = None,
        mode: str = "test",
        *,
        augs_per_clip: int = 1,
        **options: Any,
    ) -> "SegmentClipSampler":
        """Create a clip sampler from a name in the ``SAMPLERS`` registry.

        Args:
            name: Name such as ``"uniform"``.
            num_segments: Frames of one view.
            mode: ``"train"`` draws frames at random, ``"test"`` is deterministic.
            augs_per_clip: See `WholeVideoSampler`.
            **options: Options of the registered sampler, such as ``num_views``.

        Raises:
            TypeError: If ``num_segments`` is missing.
        """
        if num_segments is None:
            raise TypeError(f"The clip sampler {name!r} needs num_segments, the frames of a view, such as 8.")
        return cls(SAMPLERS.get(name)(num_segments, mode=mode, **options), augs_per_clip)

    def __call__(self, *video: Any, **keywords: Any) -> ClipInfo:
        """Return the clip of the whole video; the dataset's path handler picks the frames.

        Raises:
            RuntimeError: If the dataset does not read by frame number.
        """
        if not self.is_served:
            raise RuntimeError(
                "SegmentClipSampler needs a dataset that reads by frame number: build a LabeledVideoDataset "
                "while tsn_tsm_plugin is active, or use WholeVideoSampler with a SparsePathHandler."
            )
        return super().__call__(*video, **keywords)


class _Activation:
    """Marker that activates this package in a process that unpickles it, if it is active in this process."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _activated, (is_active(),)


def _activated(is_wanted: bool) -> _Activation:
    if is_wanted:
        activate(eager=False)
    return _Activation()


def prepare_dataset(dataset: Any) -> None:
    """Make a ``LabeledVideoDataset`` support our clip sampler, and our names in workers of any kind.

    Args:
        dataset: Dataset after its ``__init__``.
    """
    # Put the marker first: a spawned worker must unpickle it before the transform, which may need activation.
    attributes = dict(vars(dataset))
    vars(dataset).clear()
    vars(dataset).update({"_tsn_tsm_plugin": _Activation(), **attributes})
    sampler, decoder = dataset._clip_sampler, dataset._decoder
    if isinstance(sampler, SegmentClipSampler):
        own = decoder if decoder in DECODERS.names() else "auto"
        dataset.video_path_handler = SparsePathHandler(sampler.index_sampler, decoder=own)
        sampler.is_served = True
