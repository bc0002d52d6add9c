"""scanner_for: choose the picture scanner of a codec."""

from collections.abc import Callable

from tsn_tsm_plugin.data.bitstream.h264 import H264Pictures
from tsn_tsm_plugin.data.bitstream.hevc import HevcPictures
from tsn_tsm_plugin.data.bitstream.mpeg4 import Mpeg4Pictures
from tsn_tsm_plugin.data.bitstream.picture import PictureScanner, UnverifiedStreamError
from tsn_tsm_plugin.data.bitstream.vp9_av1 import Av1Pictures, Vp9Pictures

# Codecs of datasets and phones. All other codecs are decoded plainly.
_SCANNERS: dict[str, Callable[[bytes], PictureScanner]] = {
    "h264": H264Pictures,
    "hevc": HevcPictures,
    "mpeg4": Mpeg4Pictures,
    "vp9": Vp9Pictures,
    "libdav1d": Av1Pictures,
}


def scanner_for(codec: str, extradata: bytes) -> PictureScanner:
    """Return the scanner of a codec, by FFmpeg's decoder name.

    Raises:
        UnverifiedStreamError: If sparse decoding is not known to be exact for the codec.
    """
    if codec not in _SCANNERS:
        raise UnverifiedStreamError(f"codec {codec} is not known to allow sparse decoding")
    return _SCANNERS[codec](extradata)
