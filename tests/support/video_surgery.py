"""Clip, operate: coded videos cut, joined, telecined and damaged between encoder and file, by a seed.

Every operation keeps the packets that it does not mean to change. The result is a file that a muxer
accepts; a plain decode shows whether and to which frames it can be decoded.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from support.videos import numbered_frames, write_video

START_CODE = b"\0\0\1"
X265 = "log-level=none:pools=none:frame-threads=1:info=0"
_NUM_CLOCK_FLAGS = (1, 1, 1, 2, 2, 3, 3, 2, 3)
_NAL_CODECS = ("h264", "hevc")


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
        packets: In decoding order.
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


Operation = Callable[[Clip, list[Clip], random.Random], Clip]


def _with(clip: Clip, packets: list[Coded]) -> Clip:
    return replace(clip, packets=tuple(packets))


def drop(clip: Clip, others: list[Clip], draw: random.Random) -> Clip:
    """Lose packets."""
    packets = list(clip.packets)
    for _ in range(draw.choice([1, 1, 2, 5])):
        del packets[draw.randrange(len(packets))]
    return _with(clip, packets)


def cut(clip: Clip, others: list[Clip], draw: random.Random) -> Clip:
    """Lose a piece, or the beginning."""
    first = draw.choice([0, draw.randrange(len(clip.packets) - 2)])
    last = first + draw.randrange(1, 16)
    return _with(clip, [*clip.packets[:first], *clip.packets[last:]] or list(clip.packets))


def repeat(clip: Clip, others: list[Clip], draw: random.Random) -> Clip:
    """Send packets twice."""
    packets = list(clip.packets)
    for _ in range(draw.choice([1, 1, 3])):
        number = draw.randrange(len(packets))
        packets.insert(number + draw.choice([0, 1, 2]), packets[number])
    return _with(clip, packets)


def swap(clip: Clip, others: list[Clip], draw: random.Random) -> Clip:
    """Exchange packets that are near to each other."""
    packets = list(clip.packets)
    for _ in range(draw.choice([1, 2])):
        first = draw.randrange(len(packets) - 3)
        second = first + draw.choice([1, 1, 2, 3])
        packets[first], packets[second] = packets[second], packets[first]
    return _with(clip, packets)


def join(clip: Clip, others: list[Clip], draw: random.Random) -> Clip:
    """Append a clip, of the same settings or of others, from its start or from a keyframe on."""
    other = draw.choice([clip, *others])
    keys = [number for number, packet in enumerate(other.packets) if packet.is_key]
    head = draw.randrange(6, len(clip.packets) + 1)
    return _with(clip, [*clip.packets[:head], *other.packets[draw.choice(keys) :]])


def flip(clip: Clip, others: list[Clip], draw: random.Random) -> Clip:
    """Flip bits, or cut a packet short."""
    packets = list(clip.packets)
    number = draw.randrange(len(packets))
    data = bytearray(packets[number].data)
    if draw.random() < 0.3:
        del data[draw.randrange(len(data) // 2, len(data)) :]
    else:
        for _ in range(draw.choice([1, 4])):
            data[draw.randrange(min(12, len(data) - 1), len(data))] ^= 1 << draw.randrange(8)
    packets[number] = packets[number]._replace(data=bytes(data) or b"\0")
    return _with(clip, packets)


def insert_units(clip: Clip, others: list[Clip], draw: random.Random) -> Clip:
    """Put units of the codec's own kinds before pictures: headers of others, notes, display hints."""
    packets = list(clip.packets)
    unit = draw.choice(_units_of(clip, others, draw))
    chosen = draw.sample(range(len(packets)), draw.choice([1, 1, 2, len(packets)]))
    if draw.random() < 0.3:
        chosen = [number for number, packet in enumerate(packets) if packet.is_key]
    for number in chosen:
        data = packets[number].data
        offset = _offset_of_units(clip.codec, data)
        packets[number] = packets[number]._replace(data=data[:offset] + unit + data[offset:])
    return _with(clip, packets)


def _offset_of_units(codec: str, data: bytes) -> int:
    """Return the offset before the first slice of an MPEG-2 picture, before the packet of other codecs."""
    return max(data.find(START_CODE + b"\1"), 0) if codec == "mpeg2video" else 0


def _units_of(clip: Clip, others: list[Clip], draw: random.Random) -> list[bytes]:
    if clip.codec in _NAL_CODECS:
        header = {"h264": b"\x06", "hevc": b"\x4e\x01"}[clip.codec]
        messages = [
            b"\x05\x1a" + b"u" * 16 + b"x264 - %4d" % draw.randrange(200),
            b"\x01\x01" + bytes([draw.randrange(256)]),
            b"\x2f\x03\x12\x34\x80",
            b"\x06\x01\x80",
            b"\x93\x01\x12",
        ]
        sets = [unit for other in (clip, *others) for unit in parameter_sets(other)]
        endings = {"h264": [b"\x0a", b"\x0b"], "hevc": [b"\x48\x01", b"\x4a\x01"]}[clip.codec]
        units = [*(header + message + b"\x80" for message in messages), *endings]
        return [len(unit).to_bytes(4, "big") + unit for unit in (draw.choice(sets), *units)]
    if clip.codec == "mpeg4":
        notes = [b"XviD0001", b"XviD0050", b"DivX503b1393p", b"Lavc52.1.1", b"note"]
        group = START_CODE + b"\xb3" + bytes([0, 0x10 | draw.randrange(16), 0x40])
        return [START_CODE + b"\xb2" + draw.choice(notes), group]
    if clip.codec == "mpeg2video":
        matrix = bytes(draw.randrange(8, 255) for _ in range(64))
        bits = f"0011{'0'}{'1'}" + "".join(f"{value:08b}" for value in matrix) + "00"
        extension = int(bits.ljust((len(bits) + 7) // 8 * 8, "0"), 2).to_bytes((len(bits) + 7) // 8, "big")
        return [START_CODE + b"\xb5" + extension, START_CODE + b"\xb7"]
    if clip.codec == "av1":
        return [_sequence_header(other) for other in (clip, *others)]
    raise ValueError(f"no units are known of {clip.codec}")


def _sequence_header(clip: Clip) -> bytes:
    """Return the first unit of an AV1 file, which mp4 and Matroska begin with."""
    first = clip.packets[0].data
    return first[: 2 + first[1]]


def parameter_sets(clip: Clip) -> list[bytes]:
    """Return the parameter sets in the header of an mp4 or Matroska file of H.264 or HEVC."""
    with av.open(str(clip.path)) as container:
        extradata = container.streams.video[0].codec_context.extradata or b""
    found, position = [], 6 if clip.codec == "h264" else 23
    num_groups = 2 if clip.codec == "h264" else extradata[22]
    for group in range(num_groups):
        if clip.codec == "h264":
            count = extradata[5] & 31 if group == 0 else extradata[position]
            position += group
        else:
            count = int.from_bytes(extradata[position + 1 : position + 3], "big")
            position += 3
        for _ in range(count):
            size = int.from_bytes(extradata[position : position + 2], "big")
            found.append(extradata[position + 2 : position + 2 + size])
            position += 2 + size
    return found


def join_with_sets(clip: Clip, others: list[Clip], draw: random.Random) -> Clip:
    """Append a clip behind its parameter sets, which the first packet carries as well before its own."""
    other = draw.choice(others)
    own, foreign = (
        b"".join(len(unit).to_bytes(4, "big") + unit for unit in parameter_sets(each))
        for each in (clip, other)
    )
    head, tail = list(clip.packets), list(other.packets)
    head[0] = head[0]._replace(data=foreign + own + head[0].data)
    tail[0] = tail[0]._replace(data=foreign + tail[0].data)
    return _with(clip, head + tail)


def toggle_units(clip: Clip, others: list[Clip], draw: random.Random) -> Clip:
    """Let headers or encoder notes of one number change back and forth, all of them known at the start."""
    other = draw.choice(others)
    if clip.codec == "mpeg4":
        pair = [START_CODE + b"\xb2XviD0001", START_CODE + b"\xb2XviD0050"]
    elif clip.codec == "h264" and draw.random() < 0.3:
        notes = [b"\x06\x05\x1a" + b"u" * 16 + b"x264 - %3d" % build + b"\x80" for build in (20, 164)]
        pair = [len(note).to_bytes(4, "big") + note for note in notes]
    else:
        own, foreign = parameter_sets(clip), parameter_sets(other)
        offset = draw.randrange(min(len(own), len(foreign)))
        pair = [len(sets[offset]).to_bytes(4, "big") + sets[offset] for sets in (own, foreign)]
    draw.shuffle(pair)
    packets = list(clip.packets)
    keys = [number for number, packet in enumerate(packets) if packet.is_key]
    for number in (
        draw.sample(keys, len(keys) // 2) if draw.random() < 0.7 else draw.sample(range(len(packets)), 2)
    ):
        packets[number] = packets[number]._replace(data=draw.choice(pair) + packets[number].data)
    packets[0] = packets[0]._replace(data=b"".join(pair) + packets[0].data)
    return _with(clip, packets)


def show_otherwise(clip: Clip, others: list[Clip], draw: random.Random) -> Clip:
    """Set the picture structure of H.264 pictures, as pulldown does; a frame may inherit the last one."""
    packets = list(clip.packets)
    structures = draw.choice([[3, 5, 4, 6], [0, 0, 0, 1, 3, 4], list(range(9))])
    for number, packet in enumerate(packets):
        data = bytearray(packet.data)
        offset = packet.data.find(b"\x06\x01\x01")
        if 0 <= offset < len(data) - 4:
            structure = draw.choice(structures)
            # As many flags that no time follows as the structure has fields, and a bit that ends them.
            data[offset + 3] = structure << 4 | 8 >> _NUM_CLOCK_FLAGS[structure]
        packets[number] = packet._replace(data=bytes(data))
    return _with(clip, packets)


def lose_slice(clip: Clip, others: list[Clip], draw: random.Random) -> Clip:
    """Lose one NAL unit of a packet."""
    packets = list(clip.packets)
    number = draw.randrange(len(packets))
    data, units, position = packets[number].data, [], 0
    while position < len(data):
        end = position + 4 + int.from_bytes(data[position : position + 4], "big")
        units.append(data[position:end])
        position = end
    if len(units) > 1:
        del units[draw.randrange(len(units))]
    packets[number] = packets[number]._replace(data=b"".join(units))
    return _with(clip, packets)


def insert_uncoded(clip: Clip, others: list[Clip], draw: random.Random) -> Clip:
    """Put uncoded MPEG-4 pictures between others, behind a note, a group header or nothing."""
    packets = list(clip.packets)
    for _ in range(draw.choice([1, 4])):
        number = draw.randrange(1, len(packets))
        before = packets[number - 1]
        uncoded = START_CODE + b"\xb6" + bytes([0b01_0_1_0000 | draw.randrange(16), 0b1_1_0_00000 | 0b10000])
        prefix = draw.choice([b"", START_CODE + b"\xb2note", START_CODE + b"\xb2a longer note of an encoder"])
        packets.insert(number, before._replace(data=prefix + uncoded, is_key=False))
    return _with(clip, packets)


OPERATIONS: Mapping[str, list[Operation]] = {
    "h264": [
        drop,
        cut,
        repeat,
        swap,
        join,
        flip,
        insert_units,
        toggle_units,
        join_with_sets,
        show_otherwise,
        lose_slice,
    ],
    "hevc": [drop, cut, repeat, swap, join, flip, insert_units, toggle_units, lose_slice],
    "mpeg4": [drop, cut, repeat, swap, join, flip, insert_units, toggle_units, insert_uncoded],
    "mpeg2video": [drop, repeat, swap, join, flip, insert_units],
    "vp9": [drop, cut, repeat, swap, join, flip],
    "av1": [drop, cut, repeat, swap, join, flip, insert_units],
}


def renumber(clip: Clip) -> Clip:
    """Give packets times without gaps or repetitions, in the order of display that they had."""
    stamps = [packet.dts or 0 for packet in clip.packets]
    step = max(1, sorted(map(abs, map(int.__sub__, stamps[1:], stamps)))[len(stamps) // 2])
    shown = sorted(
        range(len(clip.packets)), key=lambda number: (_period(clip, number), clip.packets[number].pts or 0)
    )
    pts = {number: offset * step for offset, number in enumerate(shown)}
    delay = max(position - number for number, position in enumerate(sorted(pts, key=pts.__getitem__)))
    return _with(
        clip,
        [
            packet._replace(pts=pts[number] + (delay + 2) * step, dts=number * step)
            for number, packet in enumerate(clip.packets)
        ],
    )


def _period(clip: Clip, number: int) -> int:
    """Count how often times jumped back by more than reordering does, up to a packet."""
    stamps = [packet.dts or 0 for packet in clip.packets[: number + 1]]
    return sum(later < earlier for earlier, later in zip(stamps, stamps[1:], strict=False))


def operate(clips: list[Clip], draw: random.Random) -> tuple[str, Clip]:
    """Choose a clip and one or two operations; return what was done and the clip.

    Args:
        clips: Of one codec.
        draw: The source of all choices.
    """
    clip = draw.choice(clips)
    others = [other for other in clips if other is not clip]
    done = [clip.path.name]
    for operation in draw.choices(OPERATIONS[clip.codec], k=draw.choice([1, 1, 1, 2])):
        if operation is show_otherwise and len(done) == 1:
            clip = next(each for each in clips if each.path.stem == "structure")
        clip = operation(clip, others, draw)
        done.append(operation.__name__)
    if draw.random() < 0.6 or "join" in " ".join(done) or "repeat" in done:
        clip = renumber(clip)
        done.append("renumber")
    return " ".join(done), clip
