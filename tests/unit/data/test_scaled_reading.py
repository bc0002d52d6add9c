"""Frames scaled to a short side in the pass that converts them to RGB."""

import re

import numpy as np
import pytest
import torch
from support.videos import write_video

from tsn_tsm_plugin.data.reader import VideoReader
from tsn_tsm_plugin.transforms import ShortSideScale

SMOOTH_ROWS, SMOOTH_COLUMNS = np.mgrid[:90, :120]


@pytest.fixture(scope="module")
def smooth(tmp_path_factory):
    """A video of slow gradients, on which all ways to interpolate nearly agree."""
    pixels = np.stack([SMOOTH_ROWS * 2, SMOOTH_COLUMNS * 2, SMOOTH_ROWS + SMOOTH_COLUMNS], axis=-1)
    frames = [(pixels + number).astype(np.uint8) for number in range(10)]
    return write_video(tmp_path_factory.mktemp("scaled") / "smooth.mp4", frames)


@pytest.mark.parametrize("short_side", [30, 61, 90, 128])
def test_frames_have_the_size_and_nearly_the_pixels_of_a_scale_afterwards(smooth, short_side):
    with VideoReader(smooth) as plain, VideoReader(smooth, short_side=short_side) as scaled:
        expected = ShortSideScale(short_side)(plain.read([7, 2]).transpose(0, 1)).transpose(0, 1)
        frames = scaled.read([7, 2])

    assert (scaled.height, scaled.width) == tuple(expected.shape[-2:])
    assert frames.shape == expected.shape
    difference = (frames.int() - expected.int()).abs().float()
    assert difference.mean() <= 2.5  # Levels; a wrong position, colour or range would be tens.


def test_a_short_side_that_frames_have_already_changes_no_pixel(smooth):
    assert torch.equal(VideoReader(smooth, short_side=90).read([3]), VideoReader(smooth).read([3]))


def test_no_index_gives_no_frame_of_the_scaled_size(smooth):
    assert VideoReader(smooth, short_side=45).read([]).shape == (0, 3, 45, 60)


def test_what_only_pyav_can_is_refused_with_other_decoders(smooth):
    with pytest.raises(
        ValueError,
        match=re.escape("short_side must be 0 with decoder 'torchcodec', got 8. Use decoder 'pyav'."),
    ):
        VideoReader(smooth, "torchcodec", short_side=8)


def test_negative_numbers_are_refused(smooth):
    with pytest.raises(ValueError, match="short_side must be at least 0, got -1"):
        VideoReader(smooth, short_side=-1)
