"""operate: cut, join, telecine and damage coded videos between encoder and file, by a seed.

Every operation keeps all packets except its targets. A muxer accepts the resulting file; a plain decode shows
whether it can be decoded, and to which frames.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import replace

from support.codec_units import START_CODE, mpeg4_group, offset_of_units, parameter_sets, units_of, x264_note
from support.coded_clips import Clip, Coded

_NUM_CLOCK_FLAGS = (1, 1, 1, 2, 2, 3, 3, 2, 3)

Operation = Callable[[Clip, list[Clip], random.Random], Clip]


def _with(clip: Clip, packets: list[Coded]) -> Clip:
    return replace(clip, packets=tuple(packets))


def drop(clip: Clip, others: list[Clip], draw: random.Random) -> Clip:
    """Remove packets."""
    packets = list(clip.packets)
    for _ in range(draw.choice([1, 1, 2, 5])):
        del packets[draw.randrange(len(packets))]
    return _with(clip, packets)


def cut(clip: Clip, others: list[Clip], draw: random.Random) -> Clip:
    """Remove a range of packets, or the beginning."""
    first = draw.choice([0, draw.randrange(len(clip.packets) - 2)])
    last = first + draw.randrange(1, 16)
    return _with(clip, [*clip.packets[:first], *clip.packets[last:]] or list(clip.packets))


def repeat(clip: Clip, others: list[Clip], draw: random.Random) -> Clip:
    """Repeat packets."""
    packets = list(clip.packets)
    for _ in range(draw.choice([1, 1, 3])):
        number = draw.randrange(len(packets))
        packets.insert(number + draw.choice([0, 1, 2]), packets[number])
    return _with(clip, packets)


def swap(clip: Clip, others: list[Clip], draw: random.Random) -> Clip:
    """Exchange packets that are close to each other."""
    packets = list(clip.packets)
    for _ in range(draw.choice([1, 2])):
        first = draw.randrange(len(packets) - 3)
        second = first + draw.choice([1, 1, 2, 3])
        packets[first], packets[second] = packets[second], packets[first]
    return _with(clip, packets)


def join(clip: Clip, others: list[Clip], draw: random.Random) -> Clip:
    """Append a clip with the same or other settings, from its start or from a keyframe on."""
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
    """Insert units of the codec before pictures: headers of other clips, encoder notes, display hints."""
    packets = list(clip.packets)
    unit = draw.choice(units_of(clip, others, draw))
    chosen = draw.sample(range(len(packets)), draw.choice([1, 1, 2, len(packets)]))
    if draw.random() < 0.3:
        chosen = [number for number, packet in enumerate(packets) if packet.is_key]
    for number in chosen:
        data = packets[number].data
        offset = offset_of_units(clip.codec, data)
        packets[number] = packets[number]._replace(data=data[:offset] + unit + data[offset:])
    return _with(clip, packets)


def join_with_sets(clip: Clip, others: list[Clip], draw: random.Random) -> Clip:
    """Append a clip after its parameter sets, which the first packet also carries before its own sets."""
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
    """Alternate headers or encoder notes of the same number; the start of the file has all of them."""
    other = draw.choice(others)
    if clip.codec == "mpeg4":
        pair = [START_CODE + b"\xb2XviD0001", START_CODE + b"\xb2XviD0050"]
    elif clip.codec == "h264" and draw.random() < 0.3:
        notes = [b"\x06" + x264_note(build) + b"\x80" for build in (20, 164)]
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
    """Set the picture structure of H.264 pictures, as pulldown does; a frame may inherit the last value."""
    packets = list(clip.packets)
    structures = draw.choice([[3, 5, 4, 6], [0, 0, 0, 1, 3, 4], list(range(9))])
    for number, packet in enumerate(packets):
        data = bytearray(packet.data)
        offset = packet.data.find(b"\x06\x01\x01")
        if 0 <= offset < len(data) - 4:
            structure = draw.choice(structures)
            # One flag without a time for each field of the structure, and a bit that ends the flags.
            data[offset + 3] = structure << 4 | 8 >> _NUM_CLOCK_FLAGS[structure]
        packets[number] = packet._replace(data=bytes(data))
    return _with(clip, packets)


def lose_slice(clip: Clip, others: list[Clip], draw: random.Random) -> Clip:
    """Remove one NAL unit of a packet."""
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
    """Insert uncoded MPEG-4 pictures, after a note, a group header or nothing."""
    packets = list(clip.packets)
    for _ in range(draw.choice([1, 4])):
        number = draw.randrange(1, len(packets))
        before = packets[number - 1]
        uncoded = START_CODE + b"\xb6" + bytes([0b01_0_1_0000 | draw.randrange(16), 0b1_1_0_00000 | 0b10000])
        prefix = draw.choice([b"", START_CODE + b"\xb2note", mpeg4_group(draw)])
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
    """Give packets times without gaps or repetitions, in their former display order."""
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
    """Count backward jumps of time that are larger than reordering, up to a packet."""
    stamps = [packet.dts or 0 for packet in clip.packets[: number + 1]]
    return sum(later < earlier for earlier, later in zip(stamps, stamps[1:], strict=False))


def operate(clips: list[Clip], draw: random.Random) -> tuple[str, Clip]:
    """Apply one or two random operations to a random clip; return their names and the clip.

    Args:
        clips: Clips of one codec.
        draw: Random generator of all choices.
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
