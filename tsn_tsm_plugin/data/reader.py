"""VideoReader: read frames of a video by index, independent of the decoder.

Frame i is the i-th frame that FFmpeg decodes from the start of the file's best video stream. Frames are
rotated by the container's display matrix, if any (multiples of 90 degrees), as in FFmpeg's programs. Axes: T
frames, C channels, H rows, W columns.
"""

import operator
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tsn_tsm_plugin.errors import VideoError
from tsn_tsm_plugin.paths import open_regular, printable

DEFAULT_DECODER = "pyav"
# Frames per second of a file without a frame rate.
DEFAULT_FPS = 25.0
_VERIFY_VARIABLE = "TSN_TSM_PLUGIN_VERIFY"


def _checked(path: str) -> str:
    """Expand ``~`` in the path of a readable, non-empty file; raise an error for any other path."""
    shown = printable(path)
    try:
        with open_regular(path) as file:
            is_empty = os.fstat(file.fileno()).st_size == 0
        path = os.fspath(file.name)
        path.encode()
    except FileNotFoundError as error:
        if Path(path).is_symlink():
            target = printable(Path(path).readlink())
            raise VideoError(f"{shown}: is a link to {target}, which is missing. Repair the link.") from error
        raise VideoError(
            f"{shown}: no such file. Check the path, its prefix in the config and the mount."
        ) from error
    except IsADirectoryError as error:
        raise VideoError(f"{shown}: is a directory, not a video file. Name one file in it.") from error
    except PermissionError as error:
        raise VideoError(f"{shown}: this user may not read it. Grant read permission (chmod a+r).") from error
    except UnicodeError as error:
        raise VideoError(f"{shown}: its name is not valid UTF-8. Rename the file.") from error
    except OSError as error:  # A pipe, or a name that is too long.
        raise VideoError(f"{shown}: cannot be read ({error.strerror}). Name a video file.") from error
    if is_empty:
        raise VideoError(f"{shown}: is empty (0 bytes). Fetch it again or remove it from the list.")
    return path


def frame_indices(
    indices: Sequence[int] | Tensor | np.ndarray, *, num_frames: int, path: str | os.PathLike[str]
) -> list[int]:
    """Return indices as plain integers.

    Raises:
        IndexError: If an index is not in ``[0, num_frames)``; the message starts with the path.
    """
    if isinstance(indices, (Tensor, np.ndarray)):
        indices = indices.tolist()
    wanted = [operator.index(index) for index in indices]
    for index in wanted:
        if not 0 <= index < num_frames:
            raise IndexError(f"{path}: frame index must be in [0, num_frames={num_frames}), got {index}.")
    return wanted


class VideoReader:
    """Read exact frames of one video file.

    With every decoder, ``VideoReader(path).read([i])`` is the i-th frame of a plain decode, upright. Display
    matrices that mirror, or rotate by other angles than multiples of 90 degrees, are ignored with one warning
    per file. A reader is pickled as its path, and workers (fork or spawn) reopen the file. Threads may share
    a reader: their reads wait for each other.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> import numpy as np
        >>> from tsn_tsm_plugin.visualization.video_writer import VideoWriter
        >>> folder = TemporaryDirectory()
        >>> with VideoWriter(f"{folder.name}/fade.mp4", fps=25) as writer:
        ...     for number in range(50):
        ...         writer.write(np.full((48, 64, 3), 4 * number, np.uint8))
        >>> with VideoReader(f"{folder.name}/fade.mp4") as reader:
        ...     frames = reader.read([0, 10, 49])
        >>> reader.num_frames, reader.fps, tuple(frames.shape), frames.dtype
        (50, 25.0, (3, 3, 48, 64), torch.uint8)
        >>> (frames.float().mean((1, 2, 3)) / 4).round().int().tolist()
        [0, 10, 49]

    Args:
        path: The video file.
        decoder: A name in the ``DECODERS`` registry; ``"auto"`` is ``"pyav"``.
        num_threads: Threads of the decoder; use 1 inside data-loader workers. Videos not proven complete by
            their headers are decoded on one thread.
        short_side: Short side of the frames, in pixels, scaled in the conversion to RGB; 0 keeps the size.
            Pixels differ from `ShortSideScale`'s, see ``DATA.SCALE_IN_DECODER``. Only ``"pyav"`` supports
            scaling.
        decoder_options: Further keyword arguments of the decoder.
        verify: Compare the number of frames and the first read with a plain decode of the whole file. The
            comparison takes as long as that decode. The environment variable ``TSN_TSM_PLUGIN_VERIFY=1``
            enables it for all readers.

    Raises:
        VideoError: If the file is not a readable video. The message starts with the path and ends with the
            remedy.
        ValueError: If a number is out of range, or the decoder does not support an option.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        decoder: str = "auto",
        *,
        num_threads: int = 1,
        short_side: int = 0,
        decoder_options: Mapping[str, Any] | None = None,
        verify: bool = False,
    ) -> None:
        self.path = os.fspath(path)
        self.decoder = DEFAULT_DECODER if decoder == "auto" else decoder
        self.num_threads = num_threads
        self.short_side = short_side
        self.decoder_options = dict(decoder_options or {})
        self.verify = verify or os.environ.get(_VERIFY_VARIABLE, "") not in ("", "0")
        self._check_options()
        self._opened: Any = None
        # A decoder has state; the lock lets threads share the decoder.
        self._lock = threading.RLock()
        self._open()

    def _check_options(self) -> None:
        for name, least in (("num_threads", 1), ("short_side", 0)):
            value = getattr(self, name)
            if value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}.")
        if self.short_side and self.decoder != "pyav":
            raise ValueError(
                f"short_side must be 0 with decoder {self.decoder!r}, got {self.short_side}. Use decoder "
                "'pyav'."
            )

    def _open(self) -> Any:
        with self._lock:
            if self._opened is None:
                from tsn_tsm_plugin.registry import DECODERS

                decoder_class = DECODERS.get(self.decoder)
                options = {"num_threads": self.num_threads}
                if self.decoder == "pyav":
                    options["short_side"] = self.short_side
                self._opened = decoder_class(_checked(self.path), **options, **self.decoder_options)
            return self._opened

    @property
    def num_frames(self) -> int:
        """Number of frames of a decode of the whole file."""
        return self._open().num_frames

    @property
    def fps(self) -> float:
        """Mean frames per second; 0.0 if unknown."""
        return self._open().fps

    @property
    def duration(self) -> float:
        """Duration of ``num_frames`` at ``fps``, in seconds; 0.0 if the rate is unknown."""
        return self.num_frames / self.fps if self.fps else 0.0

    @property
    def is_sparse(self) -> bool:
        """Whether a read decodes less than all earlier frames; false if the decoder does not report it."""
        return bool(getattr(self._open(), "is_sparse", False))

    @property
    def width(self) -> int:
        """Columns of a frame as returned by ``read``, in pixels."""
        with self._lock:
            return self._open().width

    @property
    def height(self) -> int:
        """Rows of a frame as returned by ``read``, in pixels."""
        with self._lock:
            return self._open().height

    def read(self, indices: Sequence[int] | Tensor | np.ndarray) -> Tensor:
        """Decode the frames at ``indices``.

        Args:
            indices: Whole numbers in ``[0, num_frames)``, in any order, repeats allowed.

        Returns:
            uint8 RGB 0-255 (T, 3, H, W), ``T = len(indices)``.

        Raises:
            IndexError: If an index is outside the video.
            VideoError: If a frame cannot be decoded, or differs from a plain decode in verification.
        """
        wanted = frame_indices(indices, num_frames=self.num_frames, path=self.path)
        if not wanted:
            return torch.empty((0, 3, self.height, self.width), dtype=torch.uint8)
        with self._lock:
            frames = self._open().read(wanted)
            if self.verify:
                self._verify(wanted, frames)
                self.verify = False
            return frames

    def _verify(self, wanted: Sequence[int], frames: Tensor) -> None:
        """Compare read frames with a plain decode."""
        from tsn_tsm_plugin.data.decoders.pyav import PyAVDecoder

        plain = PyAVDecoder(_checked(self.path), short_side=self.short_side, is_plain=True)
        if plain.num_frames != self.num_frames:
            what = f"has {plain.num_frames} frames when it is decoded plainly, {self.num_frames} here"
        elif not torch.equal(plain.read(wanted), frames):
            what = f"frames {list(wanted)} differ from a plain decode"
        else:
            return
        raise VideoError(
            f"{self.path}: {what} (decoder {self.decoder!r}). Re-encode it, or report it with the file."
        )

    def close(self) -> None:
        """Release the decoder; reading again opens the file again."""
        with self._lock:
            if self._opened is not None:
                self._opened.close()
                self._opened = None

    def __enter__(self) -> "VideoReader":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_lock", "_opened")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _lock=threading.RLock(), _opened=None)

    def __repr__(self) -> str:
        return f"VideoReader({self.path!r}, decoder={self.decoder!r}, num_threads={self.num_threads})"
