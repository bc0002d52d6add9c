"""write_frame_folder: write a folder of JPEG frames that show their numbers."""

from pathlib import Path

from PIL import Image
from support.videos import numbered_frames


def write_frame_folder(
    folder: Path,
    num_frames: int,
    *,
    template: str = "img_{:05}.jpg",
    start_index: int = 1,
    height: int = 48,
    width: int = 64,
) -> Path:
    """Write frames ``0 .. num_frames - 1`` of ``numbered_frames`` and return the folder."""
    folder.mkdir(parents=True)
    for number, frame in enumerate(numbered_frames(num_frames, height=height, width=width)):
        Image.fromarray(frame).save(folder / template.format(start_index + number), "JPEG", quality=90)
    return folder
