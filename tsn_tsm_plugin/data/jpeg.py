"""read_jpeg, jpeg_size: decode a JPEG image, with checks against damaged images.

torchvision's libjpeg-turbo gives the same pixels as OpenCV, which the references use. Axes: C channels,
H rows, W columns.
"""

import torch
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg

from tsn_tsm_plugin.data.decoders.container import MAX_FRAME_PIXELS

_START = b"\xff\xd8"
# Frame headers SOF0 to SOF15; C4, C8 and CC are other segments.
_FRAME_HEADERS = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD8)}


def jpeg_size(data: bytes) -> tuple[int, int]:
    """Return height and width of a JPEG image from its frame header (ITU-T T.81, B.2.2).

    Raises:
        ValueError: If the data is not a JPEG image, ends before the frame header, or claims an absurd size.
    """
    if not data.startswith(_START):
        raise ValueError("is empty" if not data else "is no JPEG image")
    offset = len(_START)
    while offset + 9 <= len(data):
        marker = data[offset + 1]
        if data[offset] != 0xFF:
            break
        if marker == 0xFF:  # Any number of fill bytes may precede a marker.
            offset += 1
        elif marker in _FRAME_HEADERS:
            height, width = (int.from_bytes(data[at : at + 2]) for at in (offset + 5, offset + 7))
            if not 0 < height * width <= MAX_FRAME_PIXELS:
                raise ValueError(f"claims {width}x{height} pixels, so it is damaged")
            return height, width
        elif marker in _WITHOUT_LENGTH:
            offset += 2
        else:
            offset += 2 + int.from_bytes(data[offset + 2 : offset + 4])
    raise ValueError("is a damaged JPEG image without a frame header")


def read_jpeg(data: bytes) -> Tensor:
    """Decode a JPEG image, in colour or grey, to uint8 RGB (3, H, W).

    Pixels are as coded: a rotation in the image's metadata is not applied.

    Raises:
        ValueError: If the data is not a JPEG image, is damaged or truncated, or claims an absurd size.
    """
    jpeg_size(data)  # Check the size before libjpeg allocates memory.
    encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    try:
        return decode_jpeg(encoded, mode=ImageReadMode.RGB)
    except RuntimeError as error:
        reason = str(error).splitlines()[0].rpartition(", ")[2]
        raise ValueError(f"is a damaged JPEG image ({reason})") from error
