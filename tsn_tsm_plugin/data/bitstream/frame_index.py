"""FrameIndex: the packets to decode for each frame, computed from pictures without decoding.

Packets are numbered in decoding order, frames in the order of display::

    packets   I0  P1  B2  B3  I4  B5      I4 follows B5 in display: an open group of pictures
    display   0   3   1   2   5   4
    frames    I0  B2  B3  P1  B5  I4

For frame B3, the packets I0, P1 and B3 are decoded. For B5, which is displayed before I4 and may refer to
earlier packets, decoding starts at I0. For I4, decoding starts at I4.
"""

import bisect
import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tsn_tsm_plugin.data.bitstream.picture import CodedPicture, UnverifiedStreamError


@dataclass(frozen=True)
class Run:
    """Packets to decode without a restart of the decoder.

    Attributes:
        start: Number of the packet where decoding starts.
        packets: Numbers of the packets to decode, ascending; the first is ``start``.
        shown: Packet numbers of the decoded frames, in the order of display.
    """

    start: int
    packets: list[int]
    shown: list[int]


@dataclass(frozen=True)
class FrameIndex:
    """Map from frames to packets.

    Attributes:
        frames: Packet number of each frame, in the order of display.
        rank: Position of each packet in the order of display, including packets that are not shown.
        start: Number of the packet where decoding must start for each packet.
        pictures: Properties of each packet.
        is_open: Whether a frame depends on packets before the keyframe that precedes it in the file.
    """

    frames: list[int]
    rank: list[int]
    start: list[int]
    pictures: list[CodedPicture]
    is_open: bool

    def runs(self, frames: Iterable[int]) -> list[Run]:
        """Plan the decoding of some frames; skip every packet that no frame depends on."""
        spans: list[list[int]] = []
        wanted = {self.frames[frame] for frame in frames}
        for start, packet in sorted((self.start[packet], packet) for packet in wanted):
            if spans and start <= spans[-1][1] + 1:
                spans[-1][1] = max(spans[-1][1], packet)
            else:
                spans.append([start, packet])
        return [self._run(start, last, wanted) for start, last in spans]

    def _run(self, start: int, last: int, wanted: set[int]) -> Run:
        # Skip pictures decoded after the start but displayed before it: their references may be missing.
        first_rank = self.rank[start]
        packets = [
            packet
            for packet in range(start, last + 1)
            if packet in wanted or not (self.pictures[packet].is_droppable or self.rank[packet] < first_rank)
        ]
        shown = [packet for packet in packets if self.pictures[packet].is_shown]
        return Run(start, packets, sorted(shown, key=self.rank.__getitem__))


def _order_by_types(pictures: Sequence[CodedPicture]) -> list[int]:
    """Order B pictures before the reference picture that was decoded before them."""
    order: list[int] = []
    waiting: int | None = None
    for number, picture in enumerate(pictures):
        if picture.is_bidirectional:
            order.append(number)
        else:
            if waiting is not None:
                order.append(waiting)
            waiting = number
    return order if waiting is None else [*order, waiting]


def _order_by_pts(
    pictures: Sequence[CodedPicture], pts: Sequence[int | None], reorder_depth: int
) -> list[int]:
    known = [stamp for stamp in pts if stamp is not None]
    if len(set(known)) != len(pts):
        raise UnverifiedStreamError("time stamps are missing or repeated")
    depth = _reorder_depth(known)
    if depth > reorder_depth:
        raise UnverifiedStreamError(f"frames are reordered over {depth}, the decoder expects {reorder_depth}")
    order = sorted(range(len(known)), key=known.__getitem__)
    counts = [pictures[packet].order_count for packet in order]
    told = [count for count in counts if count is not None]
    if len(told) != len(counts):
        if depth == 0 and reorder_depth > 0:
            raise UnverifiedStreamError("the stream reorders frames, its time stamps do not")
    elif any(map(operator.ge, told, told[1:])):
        raise UnverifiedStreamError("the bitstream orders frames otherwise than the time stamps")
    return order


def _reorder_depth(pts: Sequence[int]) -> int:
    """Return the largest number of frames that are decoded before, but displayed after, one other frame."""
    depth = 0
    later: list[int] = []
    for stamp in pts:
        position = bisect.bisect(later, stamp)
        depth = max(depth, len(later) - position)
        later.insert(position, stamp)
    return depth


def build_frame_index(
    pictures: Sequence[CodedPicture],
    pts: Sequence[int | None],
    *,
    order: str,
    reorder_depth: int,
    discarded: frozenset[int] = frozenset(),
) -> FrameIndex:
    """Find the packets that each frame needs.

    Args:
        pictures: Picture of each packet, in decoding order.
        pts: Presentation time of each packet, in any unit.
        order: Value of ``PictureScanner.order``.
        reorder_depth: Number of frames that the decoder delays to reorder them.
        discarded: Packets that the container's edit list hides.

    Raises:
        UnverifiedStreamError: If the order of display is not certain.
    """
    if order == "pts":
        displayed = _order_by_pts(pictures, pts, reorder_depth)
    elif order == "types":
        displayed = _order_by_types(pictures)
    else:
        displayed = list(range(len(pictures)))
    rank = [0] * len(pictures)
    for position, packet in enumerate(displayed):
        rank[packet] = position
    pictures = list(pictures)
    for number in discarded:
        pictures[number] = pictures[number]._replace(is_shown=False)
    start, is_open = _find_starts(pictures, rank)
    frames = [packet for packet in displayed if pictures[packet].is_shown]
    return FrameIndex(frames, rank, start, pictures, is_open)


def _find_starts(pictures: Sequence[CodedPicture], rank: Sequence[int]) -> tuple[list[int], bool]:
    starts: list[int] = []
    current = previous = 0
    last_rank = -1
    is_open = False
    for number, picture in enumerate(pictures):
        if picture.is_start:
            if last_rank >= number:
                raise UnverifiedStreamError("frames are reordered across a keyframe")
            previous, current = current, number
        is_leading = rank[number] < rank[current]
        is_open |= is_leading
        starts.append(previous if is_leading else current)
        last_rank = max(last_rank, rank[number])
    return starts, is_open
