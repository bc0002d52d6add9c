"""FrameNames, open_frame_folder, frame_folders_below: open folders of frames without a list."""

import re
from pathlib import Path
from typing import NamedTuple

from tsn_tsm_plugin.config.frame_template import frame_namer
from tsn_tsm_plugin.data.frame_folder import FrameFolderReader
from tsn_tsm_plugin.data.video_files import files_below, is_left_behind
from tsn_tsm_plugin.errors import VideoError

_IMAGE_SUFFIXES = frozenset((".bmp", ".jpeg", ".jpg", ".png", ".webp"))
# Matches a name with its last number as the second group.
_NUMBERED = re.compile(r"((?:.*\D)?)(\d{1,9})(\D*)", re.DOTALL)
_HINT = (
    "DATA.FRAME_TEMPLATE and DATA.FRAME_START_INDEX choose the frames (on the command line --set KEY VALUE)."
)


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
            f"unclear. {_HINT}"
        )
    head, tail = (part.replace("{", "{{").replace("}", "}}") for part in kinds.pop())
    texts = sorted((match[2] for match in numbered), key=int)
    names = FrameNames(f"{head}{{:0{min(map(len, texts))}}}{tail}", int(texts[0]))
    for number, text in enumerate(texts, start=names.start_index):
        if f"{number:0{min(map(len, texts))}}" != text:
            name = names.template.format(number)
            raise VideoError(f"{folder}: {name} is missing, but later frames are there. {_HINT}")
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
