"""VideoWriter, check_video_name: write frames into an H.264 video file."""

import contextlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from tsn_tsm_plugin.atomic_files import UnfinishedFile, os_errors_as_run_folder_errors
from tsn_tsm_plugin.data.reader import DEFAULT_FPS
from tsn_tsm_plugin.errors import ConfigError, VideoError

# Suffixes of containers that support H.264.
_SUFFIXES = (
    *(".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov"),
    *(".mp4", ".mpeg", ".mpg", ".mts", ".ts", ".wmv"),
)


def check_video_name(path: str | Path) -> None:
    """Refuse a suffix that is not a container of H.264, before the work.

    Raises:
        ConfigError: If the suffix is not supported; the message lists the supported suffixes.
    """
    if Path(path).suffix.lower() not in _SUFFIXES:
        raise ConfigError(
            f"{path}: the video is written as H.264, so the name must end in one of {', '.join(_SUFFIXES)}. "
            "Give a file such as OUT.mp4."
        )


class VideoWriter:
    """Encodes RGB frames as H.264, one at a time.

    The first frame gives the size; an odd last row or column is removed, because H.264 stores colour in
    2 x 2 blocks. The file is replaced atomically at the end of the ``with`` block. Nothing is written without
    a frame, or if the block raises.

    Args:
        path: The file; its suffix chooses the container.
        fps: Frames per second.

    Raises:
        ConfigError: If the suffix is not a container of H.264.
        RunFolderError: If the disk is full or the folder cannot be written, also in ``write``.
        VideoError: If frames cannot be encoded, also in ``write``.
    """

    def __init__(self, path: str | Path, *, fps: float) -> None:
        check_video_name(path)
        self.path = str(path)
        self._rate = Fraction(fps if fps > 0 else DEFAULT_FPS).limit_denominator(1001)
        self._stream: av.VideoStream | None = None
        self._unfinished = UnfinishedFile(path)
        try:
            with self._errors_told():
                self._container = av.open(str(self._unfinished.path), "w")
        except BaseException:
            self._unfinished.remove()
            raise

    def write(self, rgb_HWC: np.ndarray) -> None:
        """Append a frame, uint8 (H, W, 3)."""
        height, width = (side // 2 * 2 for side in rgb_HWC.shape[:2])
        with self._errors_told():
            if self._stream is None:
                options = {"crf": "20", "preset": "veryfast"}
                self._stream = self._container.add_stream("libx264", rate=self._rate, options=options)
                self._stream.height, self._stream.width = height, width
                self._stream.pix_fmt = "yuv420p"
            pixels = np.ascontiguousarray(rgb_HWC[:height, :width])
            self._container.mux(self._stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))

    @contextlib.contextmanager
    def _errors_told(self) -> Iterator[None]:
        try:
            # FFmpeg's write errors derive from both classes.
            with os_errors_as_run_folder_errors(Path(self.path)):
                yield
        except av.FFmpegError as error:
            raise VideoError(f"{self.path}: cannot be written ({error}). Give another name.") from error

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        try:
            if kind is None and self._stream is not None:
                with self._errors_told():
                    self._container.mux(self._stream.encode(None))
                    self._container.close()
                self._unfinished.keep()
        finally:
            with contextlib.suppress(OSError, av.FFmpegError):
                self._container.close()
            self._unfinished.remove()
