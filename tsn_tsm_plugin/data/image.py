"""image_size, read_image, encode_image: decode and encode images (JPEG, PNG, WebP, BMP).

:mod:`~tsn_tsm_plugin.data.jpeg` decodes JPEG, Pillow the other formats. Axes: C channels, H rows, W columns.
"""

import io
from typing import Any

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from tsn_tsm_plugin.data.decoders.container import MAX_FRAME_PIXELS
from tsn_tsm_plugin.data.jpeg import jpeg_size, read_jpeg

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
    if not data.startswith(_SIGNATURES):
        return jpeg_size(data)
    width, height = _open(data).size
    if not 0 < width * height <= MAX_FRAME_PIXELS:
        raise ValueError(f"claims {width}x{height} pixels, so it is damaged")
    return height, width


def read_image(data: bytes) -> Tensor:
    """Decode an image to uint8 RGB (3, H, W).

    Grey images get three equal channels, 16 bits are reduced to the upper 8, an alpha channel is ignored.

    Raises:
        ValueError: If the data is not an image of a known format, is damaged or truncated, or claims an
            absurd size.
    """
    if not data.startswith(_SIGNATURES):
        return read_jpeg(data)
    image_size(data)  # Check the size before memory is allocated.
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
