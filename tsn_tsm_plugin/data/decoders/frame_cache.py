"""Decoded frames kept for the next read, as the decoder left them."""

from collections import OrderedDict

from av import VideoFrame

_BYTES_PER_PIXEL = 2.0  # 1.5 and padding


class FrameCache:
    """Keeps the frames that were used last.

    A frame stays in the decoder's own buffers, mostly 4:2:0, which take half the memory of RGB: keeping it
    copies nothing, and it is converted when it is wanted.

    Args:
        max_bytes: Of all frames together; 0 keeps none.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._frames: OrderedDict[int, VideoFrame] = OrderedDict()
        self._num_bytes = 0

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self._frames)

    def can_keep(self, num_frames: int, frame_pixels: int) -> bool:
        """Return whether so many frames of 4:2:0 fit in, their rows padded as decoders do."""
        return num_frames * frame_pixels * _BYTES_PER_PIXEL <= self.max_bytes

    def get(self, index: int) -> VideoFrame | None:
        """Return a frame if it is here."""
        if index in self._frames:
            self._frames.move_to_end(index)
        return self._frames.get(index)

    def put(self, index: int, frame: VideoFrame) -> None:
        """Keep a frame, and let go of those that were not used for longest."""
        if index in self._frames or not self.max_bytes:
            return
        self._frames[index] = frame
        self._num_bytes += _num_bytes(frame)
        while self._num_bytes > self.max_bytes:
            _, oldest = self._frames.popitem(last=False)
            self._num_bytes -= _num_bytes(oldest)

    def clear(self) -> None:
        """Let go of all frames."""
        self._frames.clear()
        self._num_bytes = 0


def _num_bytes(frame: VideoFrame) -> int:
    return sum(plane.buffer_size for plane in frame.planes)
