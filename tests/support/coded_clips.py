"""Coded, Clip, RECIPES, write_clips: small videos of each codec as packets, and files of such packets."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from support.videos import numbered_frames, write_video

X265 = "log-level=none:pools=none:frame-threads=1:info=0"


class Coded(NamedTuple):
    """A packet: its bytes, and its times in ticks of the stream."""

    data: bytes
    pts: int | None
    dts: int | None
    is_key: bool


@dataclass(frozen=True)
class Clip:
    """A coded video.

    Attributes:
        codec: FFmpeg's name of the codec.
        path: A file of the same stream, whose headers are kept.
        packets: Packets in decoding order.
    """

    codec: str
    path: Path
    packets: tuple[Coded, ...]

    def write(self, path: Path) -> None:
        """Write the packets into a file; the suffix chooses the container."""
        with av.open(str(self.path)) as source, av.open(str(path), "w") as output:
            template = source.streams.video[0]
            stream = output.add_stream_from_template(template, opaque=True)
            for coded in self.packets:
                packet = av.Packet(coded.data)
                packet.stream, packet.time_base = stream, template.time_base
                packet.pts, packet.dts, packet.is_keyframe = coded.pts, coded.dts, coded.is_key
                output.mux(packet)


def load(path: Path) -> Clip:
    """Read the packets of a file."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        packets = [
            Coded(bytes(packet), packet.pts, packet.dts, packet.is_keyframe)
            for packet in container.demux(stream)
            if packet.size
        ]
        return Clip(stream.codec_context.codec.canonical_name, path, tuple(packets))


def _x264(params: str = "", **settings: Any) -> dict[str, Any]:
    return {"codec": "libx264", "options": {"x264-params": params}, **settings}


def _x265(params: str = "", **settings: Any) -> dict[str, Any]:
    return {"codec": "libx265", "options": {"x265-params": f"{X265}:{params}".rstrip(":")}, **settings}


_VPX = {"cpu-used": "8", "auto-alt-ref": "1", "lag-in-frames": "12"}
RECIPES: Mapping[str, Mapping[str, dict[str, Any]]] = {
    "h264": {
        "default.mp4": _x264(),
        "structure.mkv": _x264("pic-struct=1"),
        "model.mp4": _x264("nal-hrd=vbr:vbv-maxrate=500:vbv-bufsize=500:pic-struct=1"),
        "open.mkv": _x264("open-gop=1"),
        "slices.mkv": _x264("slices=3"),
        "offset.mp4": _x264("chroma-qp-offset=9"),
        "range.mp4": _x264("fullrange=on"),
        "forward.mp4": _x264("weightp=0", b_frames=0),
        "interlaced.mkv": {"codec": "libx264", "options": {"flags": "+ilme+ildct"}},
        "matrix.mp4": _x264("colormatrix=YCgCo"),
        "lossless.mkv": _x264("qp=0:8x8dct=1", pix_fmt="yuv444p"),
        "slow.mkv": _x264(pts=lambda number: 3 * number + number % 2),
    },
    "hevc": {
        "closed.mp4": _x265("open-gop=0"),
        "open.mkv": _x265("open-gop=1"),
        "layers.mp4": _x265("temporal-layers=3:open-gop=0", b_frames=3),
        "forward.mkv": _x265("ref=3", b_frames=0),
        "offset.mkv": _x265("open-gop=1:cbqpoffs=9:crqpoffs=9"),
    },
    "mpeg4": {
        "b.mp4": {"codec": "mpeg4"},
        "b.avi": {"codec": "mpeg4"},
        "forward.avi": {"codec": "mpeg4", "b_frames": 0},
        "qpel.mkv": {"codec": "mpeg4", "options": {"flags": "+qpel+mv4", "mpeg_quant": "1"}},
    },
    "mpeg2video": {
        "b.mpg": {"codec": "mpeg2video"},
        "b.mkv": {"codec": "mpeg2video"},
        "422.mpg": {"codec": "mpeg2video", "pix_fmt": "yuv422p"},
        "interlaced.mpg": {"codec": "mpeg2video", "options": {"flags": "+ilme+ildct"}},
        "large.mpg": {"codec": "mpeg2video", "frames": numbered_frames(40, height=64, width=96)},
    },
    "vp9": {
        "hidden.webm": {"codec": "libvpx-vp9", "options": _VPX, "b_frames": 0},
        "large.webm": {
            "codec": "libvpx-vp9",
            "options": _VPX,
            "b_frames": 0,
            "frames": numbered_frames(40, height=64, width=96),
        },
        "plain.mp4": {"codec": "libvpx-vp9", "options": {"cpu-used": "8"}, "b_frames": 0},
    },
    "av1": {
        "hidden.mkv": {"codec": "libsvtav1", "options": {"preset": "12"}},
        "forward.mp4": {"codec": "libsvtav1", "options": {"preset": "12", "svtav1-params": "pred-struct=1"}},
    },
}
"""Clips of each codec, small in pixels, in groups of 12 pictures."""


def write_clips(folder: Path, codec: str) -> list[Clip]:
    """Encode the clips of a codec."""
    folder.mkdir(parents=True, exist_ok=True)
    clips = []
    for name, settings in RECIPES[codec].items():
        clips.append(load(write_video(folder / name, **{"frames": 40} | settings)))
    return clips


def write_palettes(path: Path, changes: set[int], num_frames: int = 30) -> Path:
    """Write raw video with a palette that changes at some frames."""
    palette = np.random.default_rng(0).integers(0, 256, (256, 4), np.uint8)
    with av.open(str(path), "w") as output:
        stream = output.add_stream("rawvideo", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "pal8"
        for number in range(num_frames):
            if number in changes:
                palette = np.roll(palette, 7, axis=0)
            indices = numbered_frames(1)[0][..., 1] + np.uint8(number)
            frame = av.VideoFrame.from_ndarray((indices, palette), format="pal8")
            frame.pts = number
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path
