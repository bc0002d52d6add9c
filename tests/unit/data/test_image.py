"""Images of frame folders in the formats besides JPEG."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from tsn_tsm_plugin.data.frame_folder import FrameFolderReader
from tsn_tsm_plugin.data.image import image_size, read_image
from tsn_tsm_plugin.errors import VideoError


def encode(image: Image.Image, form: str, **options) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def colours() -> np.ndarray:
    return np.random.RandomState(0).randint(0, 256, (6, 9, 3)).astype(np.uint8)


@pytest.mark.parametrize(("form", "options"), [("PNG", {}), ("BMP", {}), ("WEBP", {"lossless": True})])
def test_lossless_formats_give_the_pixels_that_were_written(form, options):
    data = encode(Image.fromarray(colours()), form, **options)
    assert image_size(data) == (6, 9)
    assert torch.equal(read_image(data), torch.from_numpy(colours()).permute(2, 0, 1))


def test_grey_palette_alpha_and_16_bit_images_become_rgb():
    grey = colours()[..., 0]
    as_rgb = torch.from_numpy(grey).expand(3, -1, -1)
    assert torch.equal(read_image(encode(Image.fromarray(grey), "PNG")), as_rgb)
    deep = Image.fromarray(grey.astype(np.uint16) * 256 + 77)
    assert torch.equal(read_image(encode(deep, "PNG")), as_rgb)
    with_alpha = Image.fromarray(np.dstack([colours(), np.full((6, 9), 3, np.uint8)]))
    assert torch.equal(read_image(encode(with_alpha, "PNG")), torch.from_numpy(colours()).permute(2, 0, 1))
    palette = Image.fromarray(grey).convert("P")
    assert torch.equal(read_image(encode(palette, "PNG")), as_rgb)


@pytest.mark.parametrize("keep", [0, 10, 40, 90])
@pytest.mark.parametrize("form", ["PNG", "BMP", "WEBP"])
def test_a_damaged_image_is_refused(form, keep):
    data = encode(Image.fromarray(colours()), form)[:keep]
    with pytest.raises(ValueError, match="damaged|empty|no JPEG"):
        read_image(data)


def test_a_folder_of_png_images_is_read_and_a_bad_one_named(tmp_path):
    for number in (1, 2):
        (tmp_path / f"{number}.png").write_bytes(encode(Image.fromarray(colours() // number), "PNG"))
    reader = FrameFolderReader(tmp_path, template="{}.png")
    assert (reader.num_frames, reader.height, reader.width) == (2, 6, 9)
    assert torch.equal(reader.read([1])[0], torch.from_numpy(colours() // 2).permute(2, 0, 1))
    (tmp_path / "2.png").write_bytes(b"\x89PNG\r\n\x1a\nrubbish")
    with pytest.raises(VideoError, match=r"2\.png: is a damaged image"):
        reader.read([1])
