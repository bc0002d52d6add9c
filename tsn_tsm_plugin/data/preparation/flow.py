"""FlowExtraction, prepare_flow: write the optical flow of the videos of a list as folders of images.

A field belongs to two consecutive frames, so a video has one field fewer than frames. Displacements are
clipped to ``bound`` pixels and written as levels from 0 to 255, as in the references; 128 is no motion.
Sources: Zach et al., "A Duality Based Approach for Realtime TV-L1 Optical Flow", 2007; Kroeger et al., "Fast
Optical Flow using Dense Inverse Search", arXiv:1603.03590.
"""

import functools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from tsn_tsm_plugin.atomic_files import replace_folder_when_whole, write_text_atomically
from tsn_tsm_plugin.config.frame_template import flow_templates
from tsn_tsm_plugin.data.annotations import VideoEntry, read_video_list
from tsn_tsm_plugin.data.frame_folder import FlowFolderReader
from tsn_tsm_plugin.data.image import encode_image
from tsn_tsm_plugin.data.video_dataset import open_video_file
from tsn_tsm_plugin.data.workers import map_in_workers
from tsn_tsm_plugin.errors import AnnotationError, VideoError
from tsn_tsm_plugin.log import get_logger
from tsn_tsm_plugin.paths import read_text
from tsn_tsm_plugin.transforms.resize import resize, short_side_size

logger = get_logger(__name__)

METHODS = ("tvl1", "dis")
_FRAMES_AT_ONCE = 32
_JPEG_QUALITY = 95
_INSTALL = "pip install tsn_tsm_plugin[flow]"


@dataclass(frozen=True)
class FlowExtraction:
    """Settings of computing and writing flow.

    Attributes:
        method: ``"tvl1"`` (as in the papers) or ``"dis"`` (about a hundred times faster).
        bound: Displacement at the levels 0 and 255, in pixels.
        short_side: Short side to which larger frames are scaled, in pixels; 0 keeps the size.
        template: Name of an image's file, see `flow_templates`.
    """

    method: str = "tvl1"
    bound: float = 20.0
    short_side: int = 256
    template: str = "flow_{}_{:05}.jpg"

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"method must be one of {', '.join(METHODS)}, got {self.method!r}.")
        if not 0.0 < self.bound < 1000.0:
            raise ValueError(f"bound must be more than 0 and less than 1000 pixels, got {self.bound}.")
        flow_templates(self.template)

    def algorithm(self) -> Any:
        """Return OpenCV's algorithm.

        Raises:
            ImportError: If OpenCV is not installed, or OpenCV's contributed modules in case of TV-L1.
        """
        try:
            import cv2
        except ImportError as error:
            raise ImportError(f"Optical flow needs OpenCV. Run {_INSTALL}.") from error
        cv2.setNumThreads(1)
        library: Any = cv2
        if self.method == "dis":
            return library.DISOpticalFlow_create(library.DISOPTICAL_FLOW_PRESET_MEDIUM)
        if not hasattr(library, "optflow"):
            raise ImportError(
                f"TV-L1 needs the contributed modules of OpenCV. Run {_INSTALL}, or use --method dis."
            )
        return library.optflow.DualTVL1OpticalFlow_create()

    def write(self, entry: VideoEntry, target: Path) -> int:
        """Write the flow of one video; keep a folder that is already complete.

        Returns:
            The number of fields.

        Raises:
            VideoError: If the video cannot be read.
        """
        done = self._num_written(target)
        if done:
            return done
        with replace_folder_when_whole(target) as partial:
            partial.mkdir(parents=True)
            count = 0
            for count, field in enumerate(self._fields(entry), start=1):
                for name, channel in zip(flow_templates(self.template), field, strict=True):
                    path = partial / name.format(count)
                    path.parent.mkdir(exist_ok=True)
                    image = Image.fromarray(channel)
                    path.write_bytes(encode_image(image, path.suffix, quality=_JPEG_QUALITY))
            (partial / "flow.json").write_text(json.dumps(self._stamp(count)), encoding="utf-8")
        FlowFolderReader(target, num_frames=count, template=self.template).read([0, count - 1])
        return count

    def _stamp(self, count: int) -> dict[str, Any]:
        return {"fields": count, "method": self.method, "bound": self.bound, "short_side": self.short_side}

    def _num_written(self, target: Path) -> int:
        """Return the number of fields of a complete folder with the same settings; otherwise 0."""
        try:
            stamp = json.loads(read_text(target / "flow.json"))
            count = int(stamp["fields"])
        except (OSError, ValueError, KeyError, TypeError):
            return 0
        last = flow_templates(self.template)[1].format(count)
        return count if stamp == self._stamp(count) and (target / last).exists() else 0

    def _fields(self, entry: VideoEntry) -> Iterator[np.ndarray]:
        """Yield fields as uint8 (2, H, W)."""
        algorithm = self.algorithm()
        before: np.ndarray | None = None
        num_fields = 0
        for after in _grey_frames(entry, self.short_side):
            if before is not None:
                num_fields += 1
                yield self._levels(algorithm.calc(before, after, None))
            before = after
        if before is not None and not num_fields:
            # A single frame does not move.
            yield np.full((2, *before.shape), 128, np.uint8)

    def _levels(self, field_HW2: np.ndarray) -> np.ndarray:
        share = (np.clip(field_HW2, -self.bound, self.bound) + self.bound) / (2.0 * self.bound)
        return np.ascontiguousarray(np.floor(share * 255.0 + 0.5).astype(np.uint8).transpose(2, 0, 1))


def _grey_frames(entry: VideoEntry, short_side: int) -> Iterator[np.ndarray]:
    with open_video_file(entry) as reader:
        for start in range(0, reader.num_frames, _FRAMES_AT_ONCE):
            stop = min(start + _FRAMES_AT_ONCE, reader.num_frames)
            frames = _scaled(reader.read(range(start, stop)), short_side)
            # Luma of Rec. 601, as in OpenCV's conversion to grey.
            weights = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
            grey_THW = (frames.float() * weights).sum(1).round().to(torch.uint8)
            yield from grey_THW.numpy()


def _scaled(frames_TCHW: Tensor, short_side: int) -> Tensor:
    height, width = frames_TCHW.shape[-2:]
    if not 0 < short_side < min(height, width):
        return frames_TCHW
    size = short_side_size(height, width, short_side=short_side)
    return resize(frames_TCHW.transpose(0, 1), height=size[0], width=size[1]).transpose(0, 1)


def prepare_flow(
    lists: Sequence[str], *, videos_dir: str, out_dir: Path, extraction: FlowExtraction, num_workers: int
) -> None:
    """Compute the flow of all videos of some lists, and write lists of the folders.

    A stopped run continues with the remaining videos.

    Args:
        lists: Files or URLs of lists with lines ``path label``.
        videos_dir: Folder or URL that the paths are relative to.
        out_dir: Output folder for ``flow/VIDEO/``, and for each list a list of the same name with lines
            ``VIDEO fields label``.
        extraction: Settings of the flow.
        num_workers: Processes; 0 uses this process.

    Raises:
        AnnotationError: If a list cannot be read, or no video can be read.
        ImportError: If OpenCV is missing.
        ValueError: If a list would be overwritten.
    """
    for path in lists:
        if Path(path).resolve() == (out_dir / PurePosixPath(path).name).resolve():
            raise ValueError(f"--out must not be the folder of --list, got {out_dir} for both.")
    extraction.algorithm()  # Report a missing package before the work.
    read = {path: read_video_list(path, prefix=videos_dir) for path in lists}
    entries = {entry.name: entry for found in read.values() for entry in found}
    compute = functools.partial(_compute, extraction=extraction, folder=out_dir / "flow")
    counts: dict[str, int] = {}
    faults: list[str] = []
    done = map_in_workers(compute, entries.values(), num_workers=num_workers)
    progress = tqdm(done, total=len(entries), desc="flow", unit="video", disable=None)
    for name, (count, fault) in zip(entries, progress, strict=True):
        if fault:
            faults.append(fault)
            logger.warning(f"skipped: {fault}")
        else:
            counts[name] = count
    if not counts:
        raise AnnotationError(f"{videos_dir}: no video of the lists can be read. {faults[0]}")
    for path, found in read.items():
        lines = [f"{_folder_name(e.name)} {counts[e.name]} {e.label}\n" for e in found if e.name in counts]
        write_text_atomically(out_dir / PurePosixPath(path).name, "".join(lines))
    logger.info(f"{len(counts)} videos have flow in {out_dir / 'flow'}; {len(faults)} were skipped.")


def _compute(entry: VideoEntry, *, extraction: FlowExtraction, folder: Path) -> tuple[int, str]:
    try:
        return extraction.write(entry, folder / _folder_name(entry.name)), ""
    except VideoError as error:
        return 0, str(error)


def _folder_name(name: str) -> str:
    return name.removesuffix(Path(name).suffix)
