"""Write frames into a video file that every player opens."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from tsn_tsm_plugin.errors import VideoError


class VideoWriter:
    """Encodes RGB frames as H.264, one at a time.

    The first frame gives the size; an odd last row or column is left out, since H.264 stores colour in 2 x 2
    blocks.

    Args:
        path: The file; its suffix chooses the container.
        fps: Frames per second.

    Raises:
        VideoError: If the file cannot be written.
    """

    def __init__(self, path: str | Path, *, fps: float) -> None:
        self.path = str(path)
        self._rate = Fraction(fps if fps > 0 else 25).limit_denominator(1001)
        try:
            self._container = av.open(self.path, "w")
        except (OSError, av.FFmpegError, ValueError) as error:
            raise VideoError(f"{path}: cannot be written ({error}). Give a file such as OUT.mp4.") from error
        self._stream: av.VideoStream | None = None

    def write(self, rgb_HWC: np.ndarray) -> None:
        """Append a frame, uint8 (H, W, 3)."""
        height, width = (side // 2 * 2 for side in rgb_HWC.shape[:2])
        if self._stream is None:
            options = {"crf": "20", "preset": "veryfast"}
            self._stream = self._container.add_stream("libx264", rate=self._rate, options=options)
            self._stream.height, self._stream.width = height, width
            self._stream.pix_fmt = "yuv420p"
        pixels = np.ascontiguousarray(rgb_HWC[:height, :width])
        self._container.mux(self._stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))

    def close(self) -> None:
        """Finish the file."""
        if self._stream is not None:
            self._container.mux(self._stream.encode(None))
        self._container.close()

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
