"""units_of, parameter_sets, mpeg4_group, x264_note: the units of a coded video besides pictures."""

import random

import av
from support.coded_clips import Clip

START_CODE = b"\0\0\1"
_NAL_CODECS = ("h264", "hevc")


def offset_of_units(codec: str, data: bytes) -> int:
    """Return the offset before the first slice of an MPEG-2 picture, before the packet of other codecs."""
    return max(data.find(START_CODE + b"\1"), 0) if codec == "mpeg2video" else 0


def units_of(clip: Clip, others: list[Clip], draw: random.Random) -> list[bytes]:
    if clip.codec in _NAL_CODECS:
        header = {"h264": b"\x06", "hevc": b"\x4e\x01"}[clip.codec]
        messages = [
            x264_note(draw.randrange(200)),
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
        return [START_CODE + b"\xb2" + draw.choice(notes), mpeg4_group(draw)]
    if clip.codec == "mpeg2video":
        matrix = bytes(draw.randrange(8, 255) for _ in range(64))
        bits = f"0011{'0'}{'1'}" + "".join(f"{value:08b}" for value in matrix) + "00"
        extension = int(bits.ljust((len(bits) + 7) // 8 * 8, "0"), 2).to_bytes((len(bits) + 7) // 8, "big")
        return [START_CODE + b"\xb5" + extension, START_CODE + b"\xb7"]
    if clip.codec == "av1":
        return [_sequence_header(other) for other in (clip, *others)]
    raise ValueError(f"no units are known of {clip.codec}")


def mpeg4_group(draw: random.Random) -> bytes:
    """Return the header of a group of pictures, which holds a time code."""
    return START_CODE + b"\xb3" + bytes([0, 0x10 | draw.randrange(16), 0x40])


def x264_note(build: int) -> bytes:
    """Return the message by which FFmpeg recognises a build of x264, to work around the build's faults."""
    content = b"u" * 16 + b"x264 - core %d" % build
    return bytes([5, len(content)]) + content


def _sequence_header(clip: Clip) -> bytes:
    """Return the first unit of an AV1 file, with which mp4 and Matroska files begin."""
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
