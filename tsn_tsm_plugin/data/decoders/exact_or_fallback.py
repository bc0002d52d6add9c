"""ExactOrFallbackDecoder: use another library's decoder if its frames are exact, otherwise PyAV.

Other libraries use other versions of FFmpeg. They count frames by time stamps, which some containers invent,
or by seeking to false keyframes. The packets are therefore indexed first. The library
reads only videos whose index proves equal counting and whose first, middle and last frames are equal. PyAV
reads any other video, with one warning per reason. Frames of torchcodec 0.17 and decord 0.6 differed on:
MPEG-4, AV1 with super-resolution, MPEG program streams, intra refresh, 10 bit, interlaced and odd-sized
video, open groups of pictures, edit lists, and small frames with a rotation by 90 degrees (decord).
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tsn_tsm_plugin.data.decoders.pyav import PyAVDecoder
from tsn_tsm_plugin.errors import first_line
from tsn_tsm_plugin.log import get_logger

logger = get_logger(__name__)

INSTALL_COMMAND = "pip install 'tsn_tsm_plugin[decoders]'"

_TIME_TOLERANCE_SECONDS = 1e-4
_EXACT_PIXEL_FORMATS = {"yuv420p", "yuvj420p", "yuv444p", "yuvj444p", "gray"}
_EXACT_CODECS = {"h264", "hevc", "vp9"}
_EXACT_CONTAINERS = {"mp4", "matroska"}


class NotExactError(Exception):
    """The library may not give the frames of a plain decode."""


_told: set[tuple[str, str]] = set()


class ExactOrFallbackDecoder(ABC):
    """A library's decoder if its frames are proven exact, otherwise PyAV.

    Args:
        path: A video file.
        num_threads: Threads of the decoder.

    Attributes:
        library: Name of the library.
        uses_fallback: Whether PyAV reads this video.
    """

    library: str
    _decoder: Any = None

    def __init__(self, path: str | os.PathLike[str], *, num_threads: int = 1) -> None:
        self._load_library()
        # Libraries read a colon in a relative path as a protocol, possibly of a network.
        self.path = os.path.abspath(path)  # noqa: PTH100
        self._reference = PyAVDecoder(path, num_threads=num_threads)
        self.uses_fallback = False
        self.fps = self._reference.fps
        self._quarter_turns = 0
        try:
            self._check_index()
            num_frames = self._open(self._reference.stream_index, num_threads)
            if num_frames != self.num_frames:
                raise NotExactError("it counts other frames than FFmpeg")
            self._quarter_turns = self._turns_left()
        except (NotExactError, RuntimeError) as doubt:
            self._fall_back(doubt)
        else:
            self._reference.close()

    @property
    def num_frames(self) -> int:
        """Number of frames of a plain decode of the whole file."""
        return self._reference.num_frames

    @property
    def height(self) -> int:
        """Rows of a frame, in pixels."""
        return self._reference.height

    @property
    def width(self) -> int:
        """Columns of a frame, in pixels."""
        return self._reference.width

    def read(self, indices: Sequence[int]) -> Tensor:
        """Decode frames, in any order, repeats allowed; uint8 RGB (T, C, H, W)."""
        if not self.uses_fallback:
            try:
                return self._upright(self._read(indices))
            except (NotExactError, RuntimeError) as doubt:
                self._fall_back(doubt)
        return self._reference.read(indices)

    def close(self) -> None:
        """Release the decoder and the file."""
        self._close()
        self._reference.close()

    def _check_index(self) -> None:
        reference = self._reference
        is_halved = reference.pix_fmt.endswith("420p") and (
            reference.coded_width % 2 or reference.coded_height % 2
        )
        if reference.codec not in _EXACT_CODECS:
            raise NotExactError(f"not known to be exact on {reference.codec}")
        if not reference.format_names & _EXACT_CONTAINERS:
            raise NotExactError(f"not known to be exact on {'/'.join(sorted(reference.format_names))} files")
        if reference.frame_seconds is None:
            raise NotExactError("time stamps do not give the order of the frames")
        if not reference.is_seekable:
            raise NotExactError(
                "some frames depend on packets before their keyframe, or are hidden by an edit list"
            )
        if reference.pix_fmt not in _EXACT_PIXEL_FORMATS or is_halved or reference.is_interlaced:
            layout = (
                "interlaced " * reference.is_interlaced + reference.pix_fmt + " of odd size" * bool(is_halved)
            )
            raise NotExactError(f"its colours differ for {layout}")

    def _check_times(self, indices: Sequence[int], seconds: Sequence[float]) -> None:
        expected = self._reference.frame_seconds
        assert expected is not None
        for index, second in zip(indices, seconds, strict=True):
            if abs(second - expected[index]) > _TIME_TOLERANCE_SECONDS:
                raise NotExactError("it gives frames of other times")

    def _turns_left(self) -> int:
        """Return the quarter turns that the library does not apply: none of them, or all."""
        samples = sorted({0, self.num_frames // 2, self.num_frames - 1})
        frames_TCHW, expected = self._read(samples), self._reference.read(samples)
        if self._reference.orientation.remark:
            raise NotExactError("it may rotate frames that must stay as coded")
        fitting = [
            quarter_turns
            for quarter_turns in {0, self._reference.orientation.quarter_turns}
            if torch.equal(torch.rot90(frames_TCHW, quarter_turns, (2, 3)), expected)
        ]
        if not fitting:
            raise NotExactError("its frames differ")
        if len(fitting) > 1:
            raise NotExactError("its frames do not show whether it rotates them")
        return fitting[0]

    def _upright(self, frames_TCHW: Tensor) -> Tensor:
        if self._quarter_turns:
            frames_TCHW = torch.rot90(frames_TCHW, self._quarter_turns, (2, 3))
        if frames_TCHW.shape[1:] != (3, self.height, self.width):
            raise NotExactError("it gives frames of another size")
        return frames_TCHW

    def _fall_back(self, doubt: Exception) -> None:
        reason = first_line(doubt)
        if (self.library, reason) not in _told:
            _told.add((self.library, reason))
            logger.warning(
                f"{self.path}: read with decoder='pyav', not {self.library}: {reason}. Reported once for "
                "this reason."
            )
        self.uses_fallback = True
        self._close()

    @abstractmethod
    def _load_library(self) -> None:
        """Import the library.

        Raises:
            ImportError: If the library is not installed or does not load; the message has the remedy.
        """

    @abstractmethod
    def _open(self, stream_index: int, num_threads: int) -> int:
        """Open the file and return the number of frames that the library counts."""

    @abstractmethod
    def _read(self, indices: Sequence[int]) -> Tensor:
        """Decode frames as uint8 RGB (T, C, H, W), rotated upright or all as coded.

        Raises:
            NotExactError: If the frames may differ from a plain decode.
        """

    def _close(self) -> None:
        self._decoder = None
