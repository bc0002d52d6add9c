"""write_files, sthv2_item, write_clips: tiny annotation files in the exact formats of published datasets."""

import json
from pathlib import Path

from support.frame_folders import write_frame_folder
from support.videos import write_video

KINETICS = """label,youtube_id,time_start,time_end,split
testifying,---QUuC4vJs,84,94,{split}
air drumming,-0_3bxe_EmA,3,13,{split}
"petting animal (not cat)",-1q7jA3DXQM,150,160,{split}
"""

STHV2_LABELS = {
    "Approaching something with your camera": "0",
    "Pulling something from left to right": "1",
    "Pulling something from right to left": "2",
    "Putting something similar to other things that are already on the table": "3",
    "Turning the camera left while filming something": "4",
    "Turning the camera right while filming something": "5",
}

JESTER_LABELS = """Swiping Left
Swiping Right
Swiping Down
Turning Hand Clockwise
Turning Hand Counterclockwise
No gesture
"""


def write_files(folder: Path, files: dict[str, object]) -> Path:
    """Write texts below a folder, and other values as JSON."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


def sthv2_item(number: int, template: str) -> dict:
    """Return an element of the official JSON, with placeholders."""
    return {
        "id": str(number),
        "label": template.replace("[something]", "a potato").lower(),
        "template": template,
        "placeholders": ["a potato"] * template.count("["),
    }


def write_sthv2(folder: Path, *, train: list[dict], val: list[dict]) -> Path:
    return write_files(
        folder,
        {
            "something-something-v2-labels.json": STHV2_LABELS,
            "something-something-v2-train.json": train,
            "something-something-v2-validation.json": val,
            "something-something-v2-test.json": [{"id": "1420"}],
        },
    )


def write_jester(
    folder: Path, *, train: str, val: str, name: str = "jester-v1", labels: str = JESTER_LABELS
) -> Path:
    return write_files(
        folder,
        {
            f"{name}-labels.csv": labels,
            f"{name}-train.csv": train,
            f"{name}-validation.csv": val,
            f"{name}-test.csv": "7\n8\n",
        },
    )


def write_clips(folder: Path, names: dict[str, int]) -> Path:
    """Write small videos, or folders of frames for names without suffix; ``names`` gives frame counts."""
    for name, num_frames in names.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix:
            write_video(path, num_frames, codec="libvpx" if path.suffix == ".webm" else "libx264", b_frames=0)
        else:
            write_frame_folder(path, num_frames, template="{:05}.jpg")
    return folder
