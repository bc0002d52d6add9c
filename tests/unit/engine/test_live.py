import numpy as np
import pytest
import torch
from support.trained import CLASS_NAMES, write_checkpoint

from tsn_tsm_plugin.data.frame_stream import StreamedFrame
from tsn_tsm_plugin.inference.stream_classifier import LiveClassifier, LiveOverlay, LiveScores
from tsn_tsm_plugin.inference.trained_model import load_trained
from tsn_tsm_plugin.models import StreamingTSM
from tsn_tsm_plugin.transforms import segment_indices


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return load_trained(write_checkpoint(tmp_path_factory.mktemp("live") / "w.pt", causal=True))


def frames(count: int, *, height: int = 40, width: int = 50) -> list[StreamedFrame]:
    rng = np.random.default_rng(0)
    return [
        StreamedFrame(index, index / 25, rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
        for index in range(count)
    ]


def test_the_scores_equal_the_stream_on_prepared_frames(trained):
    classify = LiveClassifier(trained, average_frames=2, min_consecutive=1)
    stream, prepare = StreamingTSM(trained.model, average_frames=2), trained.preprocessing.prepare_frame
    for frame in frames(3):
        pixels = prepare(torch.from_numpy(frame.rgb))
        expected = stream(trained.preprocessing.normalize(pixels[None, :, None])[:, :, 0])[0].softmax(0)
        scores = classify(frame)
        torch.testing.assert_close(scores.probabilities, expected, atol=1e-5, rtol=1e-4)
        assert scores.label == int(expected.argmax()) and scores.index == frame.index
        assert scores.latency_ms > 0


def test_frames_between_two_that_are_looked_at_are_skipped(trained):
    classify = LiveClassifier(trained, frame_interval=3)
    assert [classify(frame) is not None for frame in frames(7)] == [True, False, False] * 2 + [True]
    assert classify.num_scored == 3


def test_a_frame_of_another_size_starts_the_stream_anew(trained):
    classify, fresh = (LiveClassifier(trained, average_frames=4) for _ in range(2))
    for frame in frames(3):
        classify(frame)
    other = frames(1, height=64)[0]
    torch.testing.assert_close(classify(other).probabilities, fresh(other).probabilities, atol=0, rtol=0)


@pytest.mark.parametrize("arch", ["tsm", "tsn"])
def test_a_network_that_needs_whole_clips_scores_a_sliding_window(tmp_path, arch):
    offline = load_trained(write_checkpoint(tmp_path / "w.pt", "MODEL.ARCH", arch))
    classify = LiveClassifier(offline, min_consecutive=1, window_frames=12)
    source = frames(20)

    scores = [classify(frame) for frame in source]

    # Four segments of three frames: a new score whenever the window has moved on by one of them.
    assert [index for index, each in enumerate(scores) if each is not None] == list(range(0, 20, 3))
    prepared = [offline.preprocessing.prepare_frame(torch.from_numpy(frame.rgb)) for frame in source]
    looked_at = [7 + index for index in segment_indices(12, 4, mode="test").tolist()]
    expected = offline(torch.stack([prepared[i] for i in looked_at], 1)[None])[0].softmax(0)
    torch.testing.assert_close(scores[18].probabilities, expected, atol=1e-5, rtol=1e-4)
    assert scores[18].label == int(expected.argmax())


def test_a_window_of_another_size_starts_anew(tmp_path):
    offline = load_trained(write_checkpoint(tmp_path / "w.pt"))
    classify, fresh = (LiveClassifier(offline, window_frames=4) for _ in range(2))
    for frame in frames(6):
        classify(frame)
    other = frames(1, height=64)[0]

    torch.testing.assert_close(classify(other).probabilities, fresh(other).probabilities, atol=0, rtol=0)


def test_pictures_keep_the_size_of_the_first_and_classes_their_colours():
    overlay = LiveOverlay(CLASS_NAMES, fps=25.0)
    shown = [
        overlay.draw(frame, LiveScores(frame.index, 0.0, 0, torch.tensor([0.2, 0.3, 0.5]), 4.0, 25.0))
        for frame in [*frames(2), *frames(1, height=90)]
    ]
    assert len({picture.shape for picture in shown}) == 1
    colours = dict(overlay._colours)
    overlay.draw(frames(1)[0], LiveScores(3, 0.0, 0, torch.tensor([0.9, 0.05, 0.05]), 4.0, 25.0))
    assert overlay._colours == colours
