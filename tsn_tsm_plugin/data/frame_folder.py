"""FrameFolderReader, FlowFolderReader, open_frame_folder: read folders of images like `VideoReader`.

Frame ``i``, from 0, is the file ``template.format(start_index + i)``. Both references extract frames with
such names, from ``img_00001.jpg`` on. Axes: T frames, C channels, H rows, W columns.
"""

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from tsn_tsm_plugin.config.frame_template import flow_templates, frame_namer
from tsn_tsm_plugin.data.decoders.container import check_read_size
from tsn_tsm_plugin.data.image import image_size, read_image
from tsn_tsm_plugin.data.reader import frame_indices
from tsn_tsm_plugin.data.video_files import files_below, is_left_behind
from tsn_tsm_plugin.errors import VideoError
from tsn_tsm_plugin.log import warn_once
from tsn_tsm_plugin.paths import is_url, join, read_bytes

# Larger than the file of any image with the largest allowed number of pixels.
_MAX_FRAME_BYTES = 1 << 28
_HINT = "Extract the frames again, or remove the folder from the list."
_IMAGE_SUFFIXES = frozenset((".bmp", ".jpeg", ".jpg", ".png", ".webp"))
# Matches a name with its last number as the second group.
_NUMBERED = re.compile(r"((?:.*\D)?)(\d{1,9})(\D*)", re.DOTALL)
_NAMES_HINT = (
    "DATA.FRAME_TEMPLATE and DATA.FRAME_START_INDEX choose the frames (on the command line --set KEY VALUE)."
)
_Decoded = TypeVar("_Decoded")


class FrameFolderReader:
    """Read exact frames of one folder.

    Args:
        path: The folder, local or a URL that iopath can open.
        num_frames: Number of frames by the list; 0 counts consecutive files.
        template: Name of a file, with one field for the frame's number.
        start_index: Number in the first frame's name.

    Attributes:
        fps: Always 0.0, which means unknown.

    Raises:
        VideoError: If the folder is missing, or contains no frames to count.
        ValueError: If ``num_frames`` is 0 for a URL, or the template is invalid.
    """

    fps = 0.0

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        num_frames: int = 0,
        template: str = "img_{:05}.jpg",
        start_index: int = 1,
    ) -> None:
        self.path = os.path.expanduser(path)  # noqa: PTH111
        self.template = template
        self._name_of = frame_namer(template)
        self.start_index = start_index
        self._size: tuple[int, int] | None = None
        if not is_url(self.path):
            self._check_folder()
        elif not num_frames:
            raise ValueError(f"num_frames must be given for a URL, got 0 for {self.path}.")
        self.num_frames = num_frames or self._count()

    def _check_folder(self) -> None:
        # For a name that is too long, this returns false; Path.exists would raise.
        if not os.path.exists(self.path):  # noqa: PTH110
            raise VideoError(
                f"{self.path}: no such folder of frames. Check the path, its prefix and the mount."
            )
        if not Path(self.path).is_dir():
            raise VideoError(
                f"{self.path}: is a file, not a folder of frames. DATA.FORMAT videos reads files."
            )

    def _count(self) -> int:
        number = 0
        while Path(self.frame_path(number)).exists():
            number += 1
        if not number:
            raise VideoError(f"{self.path}: holds no {self._name_of(self.start_index)}. {_HINT}")
        if Path(self.frame_path(number + 1)).exists():
            warn_once(
                self.path,
                f"{self._name_of(self.start_index + number)} is missing, but the next frame is there; only "
                f"the {number} frames before it are used",
            )
        return number

    def frame_path(self, index: int) -> str:
        """Return the file of frame ``index``, from 0."""
        return join(self.path, self._name_of(self.start_index + index))

    @property
    def height(self) -> int:
        """Rows of the first frame, in pixels."""
        return self._first_size()[0]

    @property
    def width(self) -> int:
        """Columns of the first frame, in pixels."""
        return self._first_size()[1]

    def _first_size(self) -> tuple[int, int]:
        if self._size is None:
            self._size = self._decoded(0, image_size)
        return self._size

    def read(self, indices: Sequence[int] | Tensor | np.ndarray) -> Tensor:
        """Decode the frames at ``indices``; decode a repeated frame once.

        Args:
            indices: Whole numbers in ``[0, num_frames)``, in any order, repeats allowed.

        Returns:
            uint8 RGB 0-255 (T, 3, H, W), ``T = len(indices)``.

        Raises:
            IndexError: If an index is outside the video.
            VideoError: If a frame is missing or damaged, or sizes differ; the message names the frame.
        """
        wanted = frame_indices(indices, num_frames=self.num_frames, path=self.path)
        if not wanted:
            return torch.empty((0, 3, self.height, self.width), dtype=torch.uint8)
        frames_TCHW: Tensor | None = None
        positions: dict[int, list[int]] = {}
        for position, index in enumerate(wanted):
            positions.setdefault(index, []).append(position)
        for index, at in positions.items():
            image_CHW = self._decoded(index, read_image)
            height, width = image_CHW.shape[1:]
            if frames_TCHW is None:
                check_read_size(self.path, len(wanted), height, width)
                frames_TCHW = torch.empty((len(wanted), 3, height, width), dtype=torch.uint8)
            elif image_CHW.shape != frames_TCHW.shape[1:]:
                others = frames_TCHW.shape
                raise VideoError(
                    f"{self.frame_path(index)}: is {width}x{height}, frame {self.frame_path(wanted[0])} is "
                    f"{others[3]}x{others[2]}. Frames of one read must have one size: extract them again."
                )
            frames_TCHW[at] = image_CHW
        assert frames_TCHW is not None
        return frames_TCHW

    def _decoded(self, index: int, decode: Callable[[bytes], _Decoded]) -> _Decoded:
        path = self.frame_path(index)
        try:
            return decode(read_bytes(path, max_bytes=_MAX_FRAME_BYTES))
        except ValueError as error:
            raise VideoError(f"{path}: {error}. {_HINT}") from error
        except FileNotFoundError as error:
            raise VideoError(
                f"{path}: no such frame, number {index + 1} of {self.num_frames}. {_HINT} If all are there, "
                "DATA.FRAME_TEMPLATE or DATA.FRAME_START_INDEX is another."
            ) from error
        except OSError as error:
            raise VideoError(f"{path}: cannot be read ({error.strerror or error}). {_HINT}") from error

    def close(self) -> None:
        """Do nothing: no file stays open between reads."""

    def __enter__(self) -> "FrameFolderReader":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class FlowFolderReader:
    """Read the flow fields of one folder, or of its folders ``x`` and ``y``.

    Args:
        path: The folder, local or a URL that iopath can open.
        num_frames: Number of fields by the list; 0 counts the files.
        template: See :func:`flow_templates`.
        start_index: Number in the first field's names.

    Attributes:
        fps: Always 0.0, which means unknown.

    Raises:
        VideoError: If the folder is missing, or contains no fields to count.
        ValueError: If ``num_frames`` is 0 for a URL.
    """

    fps = 0.0

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        num_frames: int = 0,
        template: str = "flow_{}_{:05}.jpg",
        start_index: int = 1,
    ) -> None:
        self._axes = [
            FrameFolderReader(path, num_frames=num_frames, template=axis, start_index=start_index)
            for axis in flow_templates(template)
        ]
        self.path = self._axes[0].path
        self.num_frames = min(axis.num_frames for axis in self._axes)

    def read(self, indices: Sequence[int] | Tensor | np.ndarray) -> Tensor:
        """Decode the fields at ``indices``.

        Returns:
            uint8 (T, 2, H, W): x, then y, where 128 is no motion.

        Raises:
            IndexError: If an index is outside the video.
            VideoError: If an image is missing or damaged, or sizes differ; the message names the image.
        """
        return torch.stack([axis.read(indices)[:, 0] for axis in self._axes], dim=1)

    def close(self) -> None:
        """Do nothing: no file remains open between reads."""


class FrameNames(NamedTuple):
    """Names of the frames of a folder.

    Attributes:
        template: Name of a file, with one field for the frame's number.
        start_index: Number in the first frame's name.
    """

    template: str
    start_index: int


USUAL_NAMES = FrameNames("img_{:05}.jpg", 1)


def open_frame_folder(path: str, usual: FrameNames) -> FrameFolderReader:
    """Open a folder of frames with the usual names, otherwise its images in the order of their numbers.

    Args:
        path: The folder.
        usual: Names of the frames, used if the first of them exists.

    Raises:
        VideoError: If the folder holds no images, or other images than the numbered frames of one video.
    """
    first = Path(path, frame_namer(usual.template)(usual.start_index))
    names = usual if first.exists() else _only_names(Path(path))
    return FrameFolderReader(path, template=names.template, start_index=names.start_index)


def _only_names(folder: Path) -> FrameNames:
    images = sorted(file.name for file in folder.iterdir() if _is_image(file))
    if not images:
        raise VideoError(f"{folder}: holds no images. Give a folder of frames, such as img_00001.jpg.")
    numbered = [match for match in map(_NUMBERED.fullmatch, images) if match]
    kinds = {(match[1], match[3]) for match in numbered}
    if len(numbered) < len(images) or len(kinds) > 1:
        raise VideoError(
            f"{folder}: holds images of several kinds ({images[0]}, ..., {images[-1]}), so its frames are "
            f"unclear. {_NAMES_HINT}"
        )
    head, tail = (part.replace("{", "{{").replace("}", "}}") for part in kinds.pop())
    texts = sorted((match[2] for match in numbered), key=int)
    names = FrameNames(f"{head}{{:0{min(map(len, texts))}}}{tail}", int(texts[0]))
    for number, text in enumerate(texts, start=names.start_index):
        if f"{number:0{min(map(len, texts))}}" != text:
            name = names.template.format(number)
            raise VideoError(f"{folder}: {name} is missing, but later frames are there. {_NAMES_HINT}")
    return names


def frame_folders_below(folder: Path) -> list[str]:
    """Return the sorted folders with images; for flow folders ``x`` and ``y``, return their parent."""
    found: set[Path] = set()
    for file in files_below(folder):
        if _is_image(file):
            parent = file.parent
            is_axis = parent.name in ("x", "y") and all((parent.parent / axis).is_dir() for axis in "xy")
            found.add(parent.parent if is_axis else parent)
    return sorted(map(str, found))


def _is_image(file: Path) -> bool:
    return file.suffix.lower() in _IMAGE_SUFFIXES and not is_left_behind(file.name)
