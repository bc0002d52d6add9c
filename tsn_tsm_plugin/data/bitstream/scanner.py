"""scanner_for: the picture scanner of a codec, and the codecs whose every packet stands alone."""

from collections.abc import Callable

from tsn_tsm_plugin.data.bitstream.h264 import H264Pictures
from tsn_tsm_plugin.data.bitstream.hevc import HevcPictures
from tsn_tsm_plugin.data.bitstream.mpeg import Mpeg4Pictures, MpegVideoPictures
from tsn_tsm_plugin.data.bitstream.picture import Picture, PictureScanner, UnverifiedStreamError
from tsn_tsm_plugin.data.bitstream.vpx_av1 import Av1Pictures, Vp8Pictures, Vp9Pictures


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
