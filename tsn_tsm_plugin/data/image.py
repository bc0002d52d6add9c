"""read_image, image_size, encode_image: decode and encode images (JPEG, PNG, WebP, BMP).

JPEG is decoded by torchvision's libjpeg-turbo, which gives the same pixels as OpenCV, which the references
use. Pillow decodes the other formats. Axes: C channels, H rows, W columns.
"""

import io
from typing import Any

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg

from tsn_tsm_plugin.data.decoders.container import MAX_FRAME_PIXELS

_JPEG = b"\xff\xd8"
# JPEG's frame headers SOF0 to SOF15; C4, C8 and CC are other segments.
_FRAME_HEADERS = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD8)}
_FORMATS = ("PNG", "WEBP", "BMP")
_SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"RIFF", b"BM")


def encode_image(image: Image.Image, suffix: str, **options: Any) -> bytes:
    """Encode an image in memory, because Pillow does not report a write that a full disk truncates.

    Args:
        image: The image.
        suffix: Suffix of the file, such as ``".jpg"``, for the format.
        options: Options of Pillow for this format, such as ``quality``.
    """
    content = io.BytesIO()
    image.save(content, Image.registered_extensions()[suffix.lower()], **options)
    return content.getvalue()


def image_size(data: bytes) -> tuple[int, int]:
    """Return height and width of an image.

    Raises:
        ValueError: If the data is not an image of a known format, or the header is damaged or absurd.
    """
    height, width = _open(data).size[::-1] if data.startswith(_SIGNATURES) else _jpeg_size(data)
    if not 0 < width * height <= MAX_FRAME_PIXELS:
        raise ValueError(f"claims {width}x{height} pixels, so it is damaged")
    return height, width


def _jpeg_size(data: bytes) -> tuple[int, int]:
    """Return height and width of a JPEG image from its frame header (ITU-T T.81, B.2.2)."""
    if not data.startswith(_JPEG):
        raise ValueError("is empty" if not data else "is no JPEG image")
    offset = len(_JPEG)
    while offset + 9 <= len(data) and data[offset] == 0xFF:
        marker = data[offset + 1]
        if marker == 0xFF:  # Any number of fill bytes may precede a marker.
            offset += 1
        elif marker in _FRAME_HEADERS:
            return int.from_bytes(data[offset + 5 : offset + 7]), int.from_bytes(
                data[offset + 7 : offset + 9]
            )
        elif marker in _WITHOUT_LENGTH:
            offset += 2
        else:
            offset += 2 + int.from_bytes(data[offset + 2 : offset + 4])
    raise ValueError("is a damaged JPEG image without a frame header")


def read_image(data: bytes) -> Tensor:
    """Decode an image to uint8 RGB (3, H, W).

    Grey images get three equal channels, 16 bits are reduced to the upper 8, an alpha channel is ignored.
    Pixels are as coded: a rotation in the image's metadata is not applied.

    Raises:
        ValueError: If the data is not an image of a known format, is damaged or truncated, or claims an
            absurd size.
    """
    image_size(data)  # Check the size before memory is allocated.
    if not data.startswith(_SIGNATURES):
        try:
            return decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8), mode=ImageReadMode.RGB)
        except RuntimeError as error:
            reason = str(error).splitlines()[0].rpartition(", ")[2]
            raise ValueError(f"is a damaged JPEG image ({reason})") from error
    image = _open(data)
    try:
        if image.mode.startswith("I"):
            grey = torch.from_numpy((np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))
            return grey.expand(3, -1, -1).contiguous()
        return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).contiguous()
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"is a damaged {image.format} image ({error})") from error


def _open(data: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=_FORMATS)
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        raise ValueError("is a damaged image, or none of JPEG, PNG, WebP and BMP") from error
