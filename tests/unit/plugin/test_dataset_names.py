"""Names of samplers and decoders in PyTorchVideo's datasets."""

import pytest
import torch
from pytorchvideo.data import LabeledVideoDataset, clip_sampling, labeled_video_dataset
from support.videos import frame_number, write_video
from torch.utils.data import DataLoader, SequentialSampler

from tsn_tsm_plugin.data.pytorchvideo_bridge import SegmentClipSampler
from tsn_tsm_plugin.data.reader import VideoReader
from tsn_tsm_plugin.pytorchvideo_patch.activate import activate
from tsn_tsm_plugin.transforms import dense_indices, segment_indices, uniform_sampler

LENGTHS = (24, 37, 50)


@pytest.fixture(autouse=True)
def _active():
    activate()


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("numbered")
    paths = [write_video(folder / f"{length}.mp4", length, fps=24) for length in LENGTHS]
    (folder / "list.csv").write_text("".join(f"{path} {label}\n" for label, path in enumerate(paths)))
    return folder


def numbers(clip):
    return [frame_number(frame) for frame in clip["video"].transpose(0, 1)]


EXPECTED = {
    ("uniform_segments", ()): lambda n: segment_indices(n, 8, mode="test"),
    ("twice_sample", ()): lambda n: segment_indices(n, 8, mode="test", twice_sample=True),
    ("dense", (("num_views", 2), ("sample_range", 16))): lambda n: dense_indices(
        n, 8, mode="test", num_positions=2, sample_range=16
    ),
}


@pytest.mark.parametrize("build", ["dataset", "function"])
@pytest.mark.parametrize("name", EXPECTED)
def test_a_named_sampler_reads_exactly_its_frames_each_once(videos, name, build, monkeypatch):
    read = []
    original = VideoReader.read

    def record(self, indices):
        read.append([int(index) for index in indices])
        return original(self, indices)

    monkeypatch.setattr(VideoReader, "read", record)
    sampler = clip_sampling.make_clip_sampler(name[0], 8, **dict(name[1]))
    if build == "function":
        dataset = labeled_video_dataset(str(videos / "list.csv"), sampler, SequentialSampler)
    else:
        paths = [(str(videos / f"{length}.mp4"), {"label": 0}) for length in LENGTHS]
        dataset = LabeledVideoDataset(paths, sampler, SequentialSampler)

    clips = list(dataset)

    wanted = [EXPECTED[name](length).tolist() for length in LENGTHS]
    assert [numbers(clip) for clip in clips] == wanted
    assert read == wanted


def test_a_named_sampler_draws_in_training(videos):
    sampler = clip_sampling.make_clip_sampler("uniform_segments", num_segments=4, mode="train")
    dataset = LabeledVideoDataset([(str(videos / "24.mp4"), {})], sampler, SequentialSampler)

    drawn = {tuple(numbers(next(iter(dataset)))) for _ in range(4)}

    assert len(drawn) > 1
    assert all(6 * k <= number < 6 * (k + 1) for draw in drawn for k, number in enumerate(draw))


def test_a_sampler_without_its_number_of_frames_names_it():
    with pytest.raises(TypeError, match="needs num_segments"):
        clip_sampling.make_clip_sampler("twice_sample")


def test_a_misspelt_sampler_gets_the_nearest_names_in_the_hosts_error_type():
    with pytest.raises(NotImplementedError, match="^twice_samples not supported; nearest: twice_sample"):
        clip_sampling.make_clip_sampler("twice_samples", 8)


def test_a_sampler_in_a_dataset_that_cannot_serve_it_is_refused():
    with pytest.raises(RuntimeError, match="reads by frame number"):
        SegmentClipSampler(uniform_sampler(8, mode="test"))(0.0, 1.0, {})


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_our_decoder_gives_the_same_clips_in_workers_of_every_kind(videos, method):
    dataset = LabeledVideoDataset(
        [(str(videos / f"{length}.mp4"), {"label": 0}) for length in LENGTHS],
        clip_sampling.make_clip_sampler("constant_clips_per_video", 0.5, 2),
        SequentialSampler,
        decode_audio=False,
        decoder="exact",
    )
    loader = DataLoader(dataset, batch_size=None, num_workers=1, multiprocessing_context=method)

    clips = list(loader)

    assert len(clips) == 6
    alone = list(dataset)
    assert all(torch.equal(a["video"], b["video"]) for a, b in zip(clips, alone, strict=True))


def test_a_named_sampler_works_in_workers_of_a_fork_server(videos):
    sampler = clip_sampling.make_clip_sampler("twice_sample", 4)
    dataset = labeled_video_dataset(str(videos / "list.csv"), sampler, SequentialSampler)
    loader = DataLoader(dataset, batch_size=None, num_workers=1, multiprocessing_context="forkserver")

    assert [len(numbers(clip)) for clip in loader] == [8, 8, 8]
