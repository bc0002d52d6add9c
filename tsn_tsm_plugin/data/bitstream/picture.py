"""CodedPicture, PictureScanner: properties of a packet's picture, known before decoding.

Sparse reading decodes few packets. A packet may be skipped only if the bitstream shows that no requested
frame depends on it. Container flags are ignored, because they are often wrong.
"""

from typing import NamedTuple, Protocol


class UnverifiedStreamError(Exception):
    """Sparse decoding is not proven exact for this stream, which must be decoded plainly."""


class CodedPicture(NamedTuple):
    """Properties of the one picture of a packet.

    Attributes:
        is_start: Whether decoding may start at this picture: no picture displayed at or after it depends on
            an earlier packet.
        is_droppable: Whether no other picture depends on this picture.
        is_shown: Whether decoding gives one frame; otherwise the picture only serves as a reference.
        is_bidirectional: Whether this is an MPEG-1, -2 or -4 B picture, which is displayed before the
            reference picture that was decoded before it.
        order_count: Number that grows in the order of display, if the bitstream has one.
    """

    is_start: bool
    is_droppable: bool = False
    is_shown: bool = True
    is_bidirectional: bool = False
    order_count: tuple[int, int] | None = None


class PictureScanner(Protocol):
    """Read the pictures of one stream, packet by packet in decoding order.

    Attributes:
        order: Source of the order of display: ``"pts"``, the container's time stamps; ``"types"``, the
            picture types; ``"decoding"``, the order of the packets.
    """

    order: str

    def scan(self, packet: bytes) -> CodedPicture:
        """Describe the next packet.

        Raises:
            UnverifiedStreamError: If the packet holds anything but one plain picture.
        """
        ...
