"""Videos of a list as PyTorchVideo's clip dictionaries: read the sampled frames, then transform."""

import hashlib
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset

from tsn_tsm_plugin.data.annotations import VideoEntry
from tsn_tsm_plugin.data.collate import BadVideo, ClipDict
from tsn_tsm_plugin.data.reader import VideoReader
from tsn_tsm_plugin.data.samplers import SampleKey
from tsn_tsm_plugin.errors import VideoError

IndexSampler = Callable[[int, torch.Generator | None], Tensor]
ClipTransform = Callable[[ClipDict, torch.Generator | None], ClipDict]


def sample_seed(seed: int, key: SampleKey) -> int:
    """Mix the run's seed, the epoch and the video into one 63-bit seed; neighbours give unrelated streams."""
    digest = hashlib.blake2b(f"{seed}/{key.epoch}/{key.video_index}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


class VideoListDataset(Dataset[ClipDict | BadVideo]):
    """Read the frames of one clip per video.

    Every random number of a clip comes from one generator, seeded with the run's seed, the epoch and the
    position in the list. A video that cannot be read becomes a ``BadVideo``, never another video.

    Args:
        entries: The videos, as ``read_video_list`` returns them.
        index_sampler: Maps a number of frames and a generator to the frames to read, LongTensor (T,).
        clip_transform: Maps a clip dictionary with ``video`` uint8 (C, T, H, W) and a generator to one whose
            videos agree in shape.
        decoder: ``"auto"`` or a registered decoder's name.
        seed: Seed of the run.
    """

    def __init__(
        self,
        entries: Sequence[VideoEntry],
        *,
        index_sampler: IndexSampler,
        clip_transform: ClipTransform,
        decoder: str = "auto",
        seed: int = 0,
    ) -> None:
        self.entries = list(entries)
        self.index_sampler = index_sampler
        self.clip_transform = clip_transform
        self.decoder = decoder
        self.seed = seed

    def __len__(self) -> int:
        """Return the number of videos."""
        return len(self.entries)

    def __getitem__(self, key: SampleKey | int) -> ClipDict | BadVideo:
        """Return one clip of a video; a plain index reads it as in epoch 0."""
        if not isinstance(key, SampleKey):
            key = SampleKey(0, key)
        entry = self.entries[key.video_index]
        generator = torch.Generator().manual_seed(sample_seed(self.seed, key))
        try:
            with VideoReader(entry.path, self.decoder) as reader:
                frames_TCHW = reader.read(self.index_sampler(reader.num_frames, generator))
        except VideoError as error:
            return BadVideo(entry.path, key.video_index, str(error))
        clip = {
            "video": frames_TCHW.permute(1, 0, 2, 3),
            "label": entry.label,
            "video_name": entry.name,
            "video_index": key.video_index,
            "clip_index": 0,
            "aug_index": 0,
        }
        return self.clip_transform(clip, generator)
