"""Readers in data-loader workers, forked with a reader already open and spawned from its path."""

import pytest
from support.videos import write_video
from torch.utils.data import DataLoader

from tsn_tsm_plugin.data.reader import VideoReader


class OneFrameEach:
    """A dataset that shares one open reader among all its items."""

    def __init__(self, reader):
        self.reader = reader

    def __len__(self):
        return self.reader.num_frames

    def __getitem__(self, index):
        return self.reader.read([index])


@pytest.mark.parametrize(("start", "num_threads"), [("fork", 1), ("fork", 2), ("spawn", 2)])
def test_an_open_reader_works_in_workers(tmp_path, start, num_threads):
    path = write_video(tmp_path / "video.mp4", 16)
    reader = VideoReader(path, num_threads=num_threads)
    expected = reader.read(range(16))
    loader = DataLoader(
        OneFrameEach(reader), batch_size=None, num_workers=1, multiprocessing_context=start, timeout=60
    )
    for number, frames in enumerate(loader):
        assert frames.equal(expected[[number]])
    assert reader.read([3]).equal(expected[[3]])
