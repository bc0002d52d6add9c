"""FrameExtraction, Transcoding: convert videos to frames, or re-encode them for fast sparse reading.

Both write upright frames, as `VideoReader` gives them, without a display matrix. Both write beside the
target, read the result back and then rename it, so targets are complete or absent.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from PIL import Image

from tsn_tsm_plugin.atomic_files import replace_folder_when_whole
from tsn_tsm_plugin.config.frame_template import frame_namer
from tsn_tsm_plugin.data.decoders.container import plain_frames
from tsn_tsm_plugin.data.decoders.rgb import converted, orientation_of, shown_size, upright
from tsn_tsm_plugin.data.frame_folder import FrameFolderReader
from tsn_tsm_plugin.data.image import encode_image
from tsn_tsm_plugin.data.reader import DEFAULT_FPS, VideoReader
from tsn_tsm_plugin.errors import VideoError
from tsn_tsm_plugin.log import warn_once


@dataclass(frozen=True)
class Resize:
    """A size for frames; the aspect ratio stays, and smaller frames keep their size.

    Attributes:
        short_side: Short side, in pixels; 0 does not set it.
        height: Height, in pixels; 0 does not set it.
    """

    short_side: int = 0
    height: int = 0

    def __post_init__(self) -> None:
        if self.short_side and self.height:
            raise ValueError(f"short_side must be 0 with a height, got {self.short_side} and {self.height}.")
        if min(self.short_side, self.height) < 0:
            raise ValueError("short_side and height must not be negative.")

    def size(self, height: int, width: int, *, multiple: int = 1) -> tuple[int, int]:
        """Return height and width after resizing, rounded to a multiple."""
        side = self.height or self.short_side
        reference = height if self.height else min(height, width)
        factor = min(side / reference, 1.0) if side else 1.0
        return tuple(max(round(px * factor / multiple), 1) * multiple for px in (height, width))  # type: ignore[return-value]


class Conversion(ABC):
    """A way to write a video anew."""

    suffix = ""

    def target_name(self, name: str) -> str:
        """Return the file or folder of a converted video."""
        return name.removesuffix(Path(name).suffix) + self.suffix

    def write(self, source: Path, target: Path, num_frames: int) -> None:
        """Convert every frame.

        Raises:
            VideoError: If the video is damaged, or the written frames differ from it in number.
        """
        with replace_folder_when_whole(target) as partial:
            orientation, frames = orientation_of(plain_frames(str(source)))
            warn_once(str(source), orientation.remark)
            self._write(source, partial, frames, orientation.quarter_turns)
            self.check(partial, num_frames)

    def check(self, target: Path, num_frames: int) -> None:
        """Read back the number of frames, and the first and the last frame.

        Raises:
            VideoError: If the number differs from ``num_frames``, or a frame cannot be read.
        """
        with self._open(target) as reader:
            if reader.num_frames != num_frames:
                raise VideoError(f"{target}: must hold {num_frames} frames, holds {reader.num_frames}.")
            reader.read([0, num_frames - 1])

    @abstractmethod
    def _write(self, source: Path, target: Path, frames: Iterator[av.VideoFrame], quarter_turns: int) -> None:
        """Write all frames, which are as coded, upright: rotated by quarter turns."""

    @abstractmethod
    def _open(self, target: Path) -> FrameFolderReader | VideoReader: ...


@dataclass(frozen=True)
class FrameExtraction(Conversion):
    """Extraction of frames as JPEG images, ``folder/name/img_00001.jpg``.

    Attributes:
        resize: Size of the frames.
        quality: JPEG quality, 1 to 100.
        template: Name of a frame's file, with a field for the number, from 1.
    """

    resize: Resize = Resize()
    quality: int = 95
    template: str = "img_{:05}.jpg"

    def __post_init__(self) -> None:
        try:
            frame_namer(self.template)
        except ValueError as error:
            raise ValueError(f"template {error}.") from error
        if "/" in self.template:
            raise ValueError(f"template must name no folder, got {self.template!r}.")

    def _write(self, source: Path, target: Path, frames: Iterator[av.VideoFrame], quarter_turns: int) -> None:
        target.mkdir(parents=True)
        scaler = VideoReformatter()
        for number, frame in enumerate(frames):
            shown = self.resize.size(*shown_size(frame.height, frame.width, quarter_turns))
            height, width = shown_size(*shown, quarter_turns)
            is_resized = (height, width) != (frame.height, frame.width)
            # Without resizing, the pixels equal VideoReader's.
            how = "BICUBIC" if is_resized else None
            name = f"{source}: frame {number}"
            rgb = converted(scaler, frame, width, height, "rgb24", interpolation=how, name=name)
            image = Image.fromarray(upright(rgb.to_ndarray(), quarter_turns))
            path = target / self.template.format(number + 1)
            path.write_bytes(encode_image(image, ".jpg", quality=self.quality))

    def _open(self, target: Path) -> FrameFolderReader:
        return FrameFolderReader(target, template=self.template)


@dataclass(frozen=True)
class Transcoding(Conversion):
    """Re-encoding as H.264 in mp4, frame by frame, without sound, at the mean frame rate, for sparse reading.

    The same video gives the same bytes.

    x264's ``fastdecode`` disables arithmetic coding and the deblocking filter, which make decoding slow. B
    frames are never references, so readers skip the unneeded ones. The table compares reading 8 segments of a
    10 s clip with x264's defaults (crf 23, 340x256, 389 KiB). Size and PSNR are of re-encoding at crf 20.

    =========  =====================  =====================  ===============================
    keyframe   x264's defaults        ``fastdecode``         and B frames never references
    =========  =====================  =====================  ===============================
    every 8    2.2 x, 714 KiB, 45 dB  3.8 x, 805 KiB, 45 dB  4.1 x, 811 KiB, 45 dB
    every 12   2.2 x, 629 KiB, 45 dB  3.7 x, 717 KiB, 45 dB  **4.1 x, 718 KiB, 45 dB**
    every 16   1.9 x, 591 KiB, 45 dB  3.3 x, 679 KiB, 45 dB  3.6 x, 684 KiB, 45 dB
    =========  =====================  =====================  ===============================

    At short side 320 a keyframe every 12 frames gives 4.3 x (481 to 911 KiB). Without any B frame, files are
    a tenth larger and no faster.

    Attributes:
        resize: Size of the frames, rounded to even numbers.
        keyframe_interval: Most frames from one keyframe to the next.
        crf: Quality of x264, 0 (lossless) to 51.
    """

    resize: Resize = Resize()
    keyframe_interval: int = 12
    crf: int = 20

    suffix = ".mp4"

    def _write(self, source: Path, target: Path, frames: Iterator[av.VideoFrame], quarter_turns: int) -> None:
        with VideoReader(source) as reader:
            rate = Fraction(reader.fps or DEFAULT_FPS).limit_denominator(1001)
        # x264's AVX-512 code gives other bytes from run to run; cpu-independent disables such code.
        params = f"keyint={self.keyframe_interval}:b-pyramid=none:threads=1:cpu-independent=1"
        options = {"crf": str(self.crf), "tune": "fastdecode", "x264-params": params}
        scaler = VideoReformatter()
        with av.open(str(target), "w", format="mp4") as output:
            stream = None
            for number, frame in enumerate(frames):
                if stream is None:
                    stream = output.add_stream("libx264", rate=rate, options=options)
                    shown = shown_size(frame.height, frame.width, quarter_turns)
                    stream.height, stream.width = self.resize.size(*shown, multiple=2)
                    stream.pix_fmt = "yuv420p"
                    stream.codec_context.time_base = 1 / rate
                height, width = shown_size(stream.height, stream.width, quarter_turns)
                name = f"{source}: frame {number}"
                picture = converted(
                    scaler, frame, width, height, "yuv420p", interpolation="BICUBIC", name=name
                )
                picture = _turned(picture, quarter_turns)
                picture.pts, picture.time_base = number, 1 / rate
                picture.pict_type = av.video.frame.PictureType.NONE  # Do not keep the source's keyframes.
                output.mux(stream.encode(picture))
            if stream is not None:
                output.mux(stream.encode(None))

    def _open(self, target: Path) -> VideoReader:
        return VideoReader(target)


def _turned(picture: av.VideoFrame, quarter_turns: int) -> av.VideoFrame:
    """Rotate a 4:2:0 picture of even size counter-clockwise."""
    if not quarter_turns:
        return picture
    height, width = picture.height, picture.width
    luma, *chroma = np.split(picture.to_ndarray().ravel(), (height * width, height * width * 5 // 4))
    planes = [luma.reshape(height, width), *(plane.reshape(height // 2, width // 2) for plane in chroma)]
    turned = [np.rot90(plane, quarter_turns).ravel() for plane in planes]
    rows_and_columns = (shown_size(height, width, quarter_turns)[0] * 3 // 2, -1)
    result = av.VideoFrame.from_ndarray(np.concatenate(turned).reshape(rows_and_columns), format="yuv420p")
    result.colorspace, result.color_range = picture.colorspace, picture.color_range
    return result
