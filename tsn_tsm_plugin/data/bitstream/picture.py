"""CodedPicture, PictureScanner: properties of a packet's picture, known before decoding.

Sparse reading decodes few packets. A packet may be skipped only if the bitstream shows that no requested
frame depends on it. Container flags are ignored, because they are often wrong.
"""

from typing import NamedTuple, Protocol


class UnverifiedStreamError(Exception):
    """The stream has something that sparse decoding is not known to reproduce; decode it plainly."""


class CodedPicture(NamedTuple):
    """Properties of the one picture of a packet.

    Attributes:
        is_start: Decoding may start here: no picture displayed at or after this one depends on a packet
            before it.
        is_droppable: No other picture depends on this one.
        is_shown: Decoding it gives one frame; otherwise it only serves as a reference.
        is_bidirectional: An MPEG-1, -2 or -4 B picture, displayed before the reference picture that was
            decoded before it.
        order_count: Grows in the order of display, if the bitstream has such a count.
    """

    is_start: bool
    is_droppable: bool = False
    is_shown: bool = True
    is_bidirectional: bool = False
    order_count: tuple[int, int] | None = None


class PictureScanner(Protocol):
    """Reads the pictures of one stream, packet by packet in decoding order.

    Attributes:
        order: Source of the order of display: ``"pts"``, the container's time stamps; ``"types"``, the
            picture types; ``"decoding"``, the order of the packets itself.
    """

    order: str

    def scan(self, packet: bytes) -> CodedPicture:
        """Describe the next packet.

        Raises:
            UnverifiedStreamError: If the packet holds anything but one plain picture.
        """
        ...
