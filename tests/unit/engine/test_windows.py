import weakref

import numpy as np
import pytest
import torch
from support.trained import write_checkpoint
from support.videos import write_video

from tsn_tsm_plugin.data.reader import VideoReader
from tsn_tsm_plugin.inference import sliding_windows as module
from tsn_tsm_plugin.inference.sliding_windows import LongVideo, run_windows, sliding_windows
from tsn_tsm_plugin.inference.trained_model import load_trained
from tsn_tsm_plugin.transforms import segment_indices
from tsn_tsm_plugin.visualization.annotate_video import ScoreTimeline


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return load_trained(write_checkpoint(tmp_path_factory.mktemp("windows") / "w.pt"))


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return str(write_video(tmp_path_factory.mktemp("windows") / "v.mp4", 40, fps=10))


@pytest.mark.parametrize(
    ("num_frames", "length", "stride", "expected"),
    [
        (10, 4, 4, [(0, 4), (4, 8), (6, 10)]),
        (8, 4, 4, [(0, 4), (4, 8)]),
        (8, 4, 2, [(0, 4), (2, 6), (4, 8)]),
        (3, 4, 2, [(0, 3)]),
        (4, 4, 9, [(0, 4)]),
        (9, 4, 20, [(0, 4), (5, 9)]),
    ],
)
def test_windows_cover_the_video_to_its_end(num_frames, length, stride, expected):
    assert sliding_windows(num_frames, length=length, stride=stride) == expected


def test_each_window_scores_as_a_clip_of_its_frames(trained, video):
    bounds = sliding_windows(40, length=12, stride=7)
    found = list(run_windows(trained, video, bounds))
    assert [(window.start, window.stop) for window in found] == bounds
    prepare = trained.preprocessing.prepare_frame
    for window in found:
        expected = [
            window.start + i for i in segment_indices(window.stop - window.start, 4, mode="test").tolist()
        ]
        assert window.indices == expected
        with VideoReader(video) as reader:
            clip = torch.stack([prepare(frame.permute(1, 2, 0)) for frame in reader.read(expected)], 1)
        with torch.no_grad():
            scores = trained.model(trained.preprocessing.normalize(clip[None]))[0]
        # A batch of four clips and one of one may take different kernels.
        torch.testing.assert_close(window.logits, scores, atol=1e-3, rtol=1e-4)


def test_only_frames_that_a_window_still_needs_are_kept(trained, video, monkeypatch):
    prepare_frame, frame_features = trained.preprocessing.prepare_frame, module.frame_features
    prepared: list[weakref.ref] = []
    held: list[int] = []

    def noted(rgb):
        frame = prepare_frame(rgb)
        prepared.append(weakref.ref(frame))
        return frame

    def counted(model, clips):
        held.append(sum(frame() is not None for frame in prepared))
        return frame_features(model, clips)

    monkeypatch.setattr(trained.preprocessing, "prepare_frame", noted)
    monkeypatch.setattr(module, "frame_features", counted)
    list(run_windows(trained, video, sliding_windows(40, length=4, stride=1)))
    assert len(held) == 10 and max(held) <= 8


def test_features_are_written_per_clip_and_per_frame_with_the_frames_they_are_of(trained, video, tmp_path):
    long = LongVideo(trained, video, window=1.2, stride=1.0)
    long.score(features=tmp_path / "clip.npy", of="clip")
    long.score(features=tmp_path / "frame.npy", of="frame")
    clip, frame = np.load(tmp_path / "clip.npy"), np.load(tmp_path / "frame.npy")
    assert clip.shape == (4, 512) and frame.shape == (4, 4, 512) and clip.dtype == np.float32
    np.testing.assert_allclose(frame.mean(1), clip, rtol=1e-5, atol=1e-6)
    described = (tmp_path / "clip.json").read_text()
    assert '"start": 28' in described and '"stop": 40' in described


def test_the_course_over_the_video_has_one_moment_in_the_middle_of_each_window(trained, video):
    course = LongVideo(trained, video, window=1.2, stride=1.0).score()
    assert course.frame_times.tolist() == [5.5, 15.5, 25.5, 33.5]
    np.testing.assert_allclose(course.probabilities.sum(1), 1, rtol=1e-5)


def test_between_two_moments_the_course_is_interpolated_and_outside_it_is_constant():
    course = ScoreTimeline(np.array([10.0, 20.0]), np.array([[1.0, 0.0], [0.0, 1.0]]))
    at = course.at(np.array([0.0, 10.0, 15.0, 19.0, 30.0]))
    np.testing.assert_allclose(at[:, 1], [0.0, 0.0, 0.5, 0.9, 1.0])


def test_a_course_of_one_moment_is_constant():
    course = ScoreTimeline(np.array([3.0]), np.array([[0.25, 0.75]]))
    np.testing.assert_allclose(course.at(np.array([0.0, 3.0, 9.0]))[:, 1], 0.75)
