"""Decoded frames kept for the next read, as the decoder left them."""

from collections import OrderedDict

from av import VideoFrame

_PADDING = 4 / 3  # of rows, as decoders want them


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

    def can_keep(self, num_frames: int, frame_bytes: int) -> bool:
        """Return whether so many frames fit in, of so many bytes each without padding (0: not known)."""
        return 0 < num_frames * frame_bytes * _PADDING <= self.max_bytes

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
