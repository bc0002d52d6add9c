import io
import pickle
import re
from fractions import Fraction

import pytest
import torch
from pytorchvideo.data import Kinetics, encoded_video, labeled_video_dataset
from pytorchvideo.data.encoded_video import EncodedVideo
from pytorchvideo.data.labeled_video_dataset import LabeledVideoDataset
from support.videos import frame_number, sequential_frames, write_video
from torch.utils.data import DataLoader, SequentialSampler

from tsn_tsm_plugin.data.pytorchvideo_bridge import SparsePathHandler, SparseVideo, WholeVideoSampler
from tsn_tsm_plugin.errors import VideoError
from tsn_tsm_plugin.transforms.segments import segment_indices, uniform_sampler

LENGTHS = (24, 37, 50)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Three numbered videos and a list file of them in Kinetics' form, labels 0, 1, 2."""
    folder = tmp_path_factory.mktemp("numbered")
    paths = [write_video(folder / f"{length}.mp4", length, fps=24) for length in LENGTHS]
    (folder / "list.csv").write_text("".join(f"{path} {label}\n" for label, path in enumerate(paths)))
    return folder


def sparse_dataset(build, data_path, index_sampler, **options):
    dataset = build(str(data_path), WholeVideoSampler(), SequentialSampler, decode_audio=False, **options)
    dataset.video_path_handler = SparsePathHandler(index_sampler)
    return dataset


def numbers(video):
    """The numbers drawn on the frames of a (C, T, H, W) video."""
    return [frame_number(frame) for frame in video.transpose(0, 1)]


@pytest.mark.parametrize("build", [Kinetics, labeled_video_dataset])
def test_a_pytorchvideo_dataset_returns_exactly_the_segment_frames(videos, build):
    clips = list(sparse_dataset(build, videos / "list.csv", uniform_sampler(8, mode="test")))

    assert [clip["label"] for clip in clips] == [0, 1, 2]
    for clip, length in zip(clips, LENGTHS, strict=True):
        indices = segment_indices(length, 8, mode="test")
        everything = sequential_frames(videos / f"{length}.mp4")
        assert clip["video"].dtype == torch.uint8
        assert numbers(clip["video"]) == indices.tolist()
        assert torch.equal(clip["video"], everything[indices].transpose(0, 1))
        assert clip["video_name"] == f"{length}.mp4"


def test_training_frames_lie_in_their_segments_and_vary(videos):
    dataset = sparse_dataset(Kinetics, videos / "list.csv", uniform_sampler(4, mode="train"))
    torch.manual_seed(0)
    draws = [numbers(next(iter(dataset))["video"]) for _ in range(3)]

    assert all(6 * k <= number < 6 * (k + 1) for draw in draws for k, number in enumerate(draw))
    assert len({tuple(draw) for draw in draws}) > 1


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_return_what_the_process_itself_returns(videos, method):
    dataset = sparse_dataset(Kinetics, videos / "list.csv", uniform_sampler(4, mode="test"))
    alone = [clip["video"] for clip in dataset]
    loader = DataLoader(dataset, batch_size=None, num_workers=1, multiprocessing_context=method)

    assert all(torch.equal(a["video"], b) for a, b in zip(loader, alone, strict=True))


def test_one_clip_is_given_out_once_per_augmentation(videos):
    dataset = LabeledVideoDataset(
        [(str(videos / "24.mp4"), {"label": 0})], WholeVideoSampler(3), SequentialSampler, decode_audio=False
    )
    dataset.video_path_handler = SparsePathHandler(uniform_sampler(2, mode="test"))

    assert [clip["aug_index"] for clip in dataset] == [0, 1, 2]
    assert [clip["clip_index"] for clip in dataset] == [0, 0, 0]


def test_a_video_cut_short_does_not_disturb_the_next_one():
    sampler = WholeVideoSampler(2)
    assert sampler(0.0, Fraction(5), {}).is_last_clip is False
    sampler.reset()

    assert sampler(None, Fraction(7), {}) == (0, 7, 0, 0, False)
    assert sampler(7, Fraction(7), {}) == (0, 7, 0, 1, True)


def test_the_number_of_augmentations_is_checked():
    with pytest.raises(ValueError, match="augs_per_clip must be at least 1, got 0"):
        WholeVideoSampler(0)


@pytest.mark.parametrize(
    ("start", "end", "first", "last"), [(0.5, 1, 12, 23), (0.51, 9, 13, 23), (0, 0.01, 0, 0)]
)
def test_a_window_holds_the_frames_shown_within_it(videos, start, end, first, last):
    video = SparseVideo(str(videos / "24.mp4"), index_sampler=lambda count, _: torch.arange(count))

    assert video.duration == 1
    assert numbers(video.get_clip(start, end)["video"]) == list(range(first, last + 1))


def test_a_window_past_the_end_holds_nothing(videos):
    video = SparseVideo(str(videos / "24.mp4"), index_sampler=uniform_sampler(2, mode="test"))

    assert video.get_clip(1, 2) == {"video": None, "audio": None}


def test_a_bad_video_stops_the_iteration_with_its_path(tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    (tmp_path / "list.csv").write_text(f"{tmp_path}/bad.mp4 0\n")
    dataset = sparse_dataset(Kinetics, tmp_path / "list.csv", uniform_sampler(2, mode="test"))

    with pytest.raises(VideoError, match="^" + re.escape(f"{tmp_path}/bad.mp4: ")):
        next(iter(dataset))


def test_a_bad_video_is_skipped_only_when_asked_and_never_silently(tmp_path, videos, caplog):
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    (tmp_path / "list.csv").write_text(f"{tmp_path}/bad.mp4 0\n{videos}/24.mp4 1\n")
    dataset = sparse_dataset(Kinetics, tmp_path / "list.csv", uniform_sampler(2, mode="test"))
    dataset.video_path_handler = SparsePathHandler(uniform_sampler(2, mode="test"), skip_bad_videos=True)

    assert [clip["label"] for clip in dataset] == [1]
    assert f"Skipping a bad video: {tmp_path}/bad.mp4: " in caplog.text


def test_the_handler_takes_the_arguments_of_other_versions_of_the_host(videos):
    handler = SparsePathHandler(uniform_sampler(2, mode="test"))
    video = handler.video_from_path(
        str(videos / "24.mp4"), decode_video=True, decode_audio=True, decoder="pyav"
    )

    assert numbers(video.get_clip(0, video.duration)["video"]) == [6, 18]


def test_handler_and_sampler_survive_a_pickle(videos):
    handler, sampler = pickle.loads(
        pickle.dumps((SparsePathHandler(uniform_sampler(2, mode="test")), WholeVideoSampler(2)))
    )
    video = handler.video_from_path(str(videos / "24.mp4"))

    assert numbers(video.get_clip(*sampler(0, video.duration, {})[:2])["video"]) == [6, 18]


def test_the_exact_decoder_gives_what_the_hosts_own_decoder_gives(videos):
    exact = EncodedVideo.from_path(str(videos / "24.mp4"), False, "exact")
    own = EncodedVideo.from_path(str(videos / "24.mp4"), False, "pyav")

    assert exact.duration == own.duration
    for window in ((0, 1), (0.25, 0.5)):
        ours, theirs = exact.get_clip(*window)["video"], own.get_clip(*window)["video"]
        assert ours.dtype == theirs.dtype == torch.float32
        assert torch.equal(ours, theirs)


def test_a_registered_decoder_is_known_to_the_host_by_its_name(videos):
    from tsn_tsm_plugin.data.decoders.pyav import PyAVDecoder
    from tsn_tsm_plugin.registry import DECODERS

    DECODERS.register("third_party")(PyAVDecoder)
    try:
        video = EncodedVideo.from_path(str(videos / "24.mp4"), False, "third_party")
    finally:
        DECODERS.unregister("third_party")

    assert video.get_clip(0, 1)["video"].shape[1] == 24


def test_the_exact_decoder_names_a_bad_video():
    video_class = encoded_video.select_video_class("exact")
    with pytest.raises(VideoError, match="^clip.mp4: "):
        video_class(io.BytesIO(b"no video"), "clip.mp4", False)
