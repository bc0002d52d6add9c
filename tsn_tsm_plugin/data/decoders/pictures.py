"""What a packet says about its picture before anything is decoded.

Sparse reading decodes few packets. It may leave out a packet only where the bitstream itself says that no
wanted frame depends on it; container flags are not asked, because they are often wrong.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol


class UnverifiedStreamError(Exception):
    """The stream has something that sparse decoding is not known to reproduce; decode it plainly."""


class Picture(NamedTuple):
    """Facts about the one picture of a packet.

    Attributes:
        is_start: Decoding may start here: no picture displayed at or after this one depends on a packet
            before it.
        is_droppable: No other picture depends on this one.
        is_shown: Decoding it gives one frame; otherwise it only serves as a reference.
        is_bidirectional: An MPEG-1, -2 or -4 B picture, displayed before the reference picture that was
            decoded before it.
        order_count: Grows in the order of display where the bitstream tells it.
    """

    is_start: bool
    is_droppable: bool = False
    is_shown: bool = True
    is_bidirectional: bool = False
    order_count: tuple[int, int] | None = None


class PictureScanner(Protocol):
    """Reads the pictures of one stream, packet by packet in decoding order.

    Attributes:
        order: Where the order of display comes from: ``"pts"``, the container's time stamps; ``"types"``,
            the picture types; ``"decoding"``, the order of the packets itself.
    """

    order: str

    def scan(self, packet: bytes) -> Picture:
        """Describe the next packet.

        Raises:
            UnverifiedStreamError: If the packet holds anything but one plain picture.
        """
        ...


class IndependentPictures:
    """Codecs whose every packet is a whole picture on its own."""

    order = "decoding"

    def __init__(self, extradata: bytes) -> None:
        del extradata

    def scan(self, packet: bytes) -> Picture:
        """Describe the next packet."""
        return Picture(is_start=True, is_droppable=True)


class JpegPictures:
    """Motion JPEG, if every packet brings its own tables."""

    order = "decoding"

    def __init__(self, extradata: bytes) -> None:
        del extradata
        self._brings_huffman_tables: bool | None = None

    def scan(self, packet: bytes) -> Picture:
        """Describe the next packet."""
        header = packet[: packet.find(b"\xff\xda")]
        if not packet.startswith(b"\xff\xd8") or b"\xff\xdb" not in header or b"\xff\xc0" not in header:
            raise UnverifiedStreamError("a Motion JPEG packet is no complete baseline image")
        brings = b"\xff\xc4" in header
        if self._brings_huffman_tables not in (None, brings):
            raise UnverifiedStreamError("some Motion JPEG packets rely on the Huffman tables of others")
        self._brings_huffman_tables = brings
        return Picture(is_start=True, is_droppable=True)


def scanner_for(codec: str, extradata: bytes) -> PictureScanner:
    """Return the scanner of a codec, by FFmpeg's decoder name.

    Raises:
        UnverifiedStreamError: If sparse decoding is not known to be exact for the codec.
    """
    from tsn_tsm_plugin.data.decoders.h264_pictures import H264Pictures
    from tsn_tsm_plugin.data.decoders.hevc_pictures import HevcPictures
    from tsn_tsm_plugin.data.decoders.mpeg_pictures import Mpeg4Pictures, MpegVideoPictures
    from tsn_tsm_plugin.data.decoders.vpx_av1_pictures import Av1Pictures, Vp8Pictures, Vp9Pictures

    scanners: dict[str, Callable[[bytes], PictureScanner]] = {
        "h264": H264Pictures,
        "hevc": HevcPictures,
        "mpeg1video": MpegVideoPictures,
        "mpeg2video": MpegVideoPictures,
        "mpeg4": Mpeg4Pictures,
        "vp8": Vp8Pictures,
        "vp9": Vp9Pictures,
        "libdav1d": Av1Pictures,
        "mjpeg": JpegPictures,
        "prores": IndependentPictures,
        "dnxhd": IndependentPictures,
        "rawvideo": IndependentPictures,
        "huffyuv": IndependentPictures,
        "utvideo": IndependentPictures,
    }
    if codec not in scanners:
        raise UnverifiedStreamError(f"codec {codec} is not known to allow sparse decoding")
    return scanners[codec](extradata)
