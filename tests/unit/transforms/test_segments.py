import json
import re
from pathlib import Path

import pytest
import torch

from tsn_tsm_plugin.transforms import (
    TwiceSample,
    dense_indices,
    dense_sampler,
    segment_indices,
    uniform_sampler,
)

GOLDEN = Path(__file__).parents[2] / "golden" / "test_sampling.json"


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("case", json.loads(GOLDEN.read_text()), ids=lambda c: json.dumps(c)[:70])
def test_indices_at_test_time_are_the_references(case):
    if case["strategy"] == "dense":
        indices = dense_indices(
            case["total_frames"],
            case["num_segments"],
            mode="test",
            sample_range=case["sample_range"],
            num_positions=case["num_sample_positions"],
        )
    else:
        indices = segment_indices(
            case["total_frames"], case["num_segments"], mode="test", twice_sample=case["twice_sample"]
        )
    assert indices.tolist() == case["indices"]


def test_test_frames_are_the_middles_of_the_segments():
    assert segment_indices(9, 3, mode="test").tolist() == [1, 4, 7]


def test_twice_sampling_appends_the_first_frames_of_the_segments():
    assert segment_indices(9, 3, mode="test", twice_sample=True).tolist() == [1, 4, 7, 0, 3, 6]


def test_a_quirk_of_the_references_floats_is_kept():
    # Exactly, (12 + 1/2) * 30 / 25 is 15; in double, and in the references' order of terms, just below.
    assert segment_indices(30, 25, mode="test")[12] == 14


def test_a_video_shorter_than_the_segments_repeats_frames():
    assert segment_indices(3, 8, mode="test").tolist() == [0, 0, 0, 1, 1, 2, 2, 2]


@pytest.mark.parametrize("num_frames, num_segments", [(8, 8), (31, 8), (280, 8), (1000, 25)])
def test_training_draws_every_frame_of_each_segment_and_no_other(num_frames, num_segments):
    length = num_frames // num_segments
    drawn = torch.stack(
        [segment_indices(num_frames, num_segments, mode="train", generator=generator(s)) for s in range(800)]
    )
    offsets = drawn - torch.arange(num_segments) * length
    assert offsets.min() == 0
    assert offsets.max() == length - 1
    expected = 800 * num_segments / length
    counts = torch.bincount(offsets.flatten(), minlength=length)
    assert (counts - expected).abs().max() < 6 * expected**0.5


def test_training_never_draws_the_last_frames_unless_asked():
    drawn = [segment_indices(31, 16, mode="train", generator=generator(s)) for s in range(50)]
    assert max(int(d.max()) for d in drawn) == 15
    kept = [
        segment_indices(31, 16, mode="train", keep_tail_frames=True, generator=generator(s))
        for s in range(200)
    ]
    assert max(int(k.max()) for k in kept) == 30
    assert min(int(k.min()) for k in kept) == 0
    assert all((k.diff() >= 0).all() for k in kept)


@pytest.mark.parametrize(
    "num_frames, expected", [(4, [0, 0, 1, 2, 2, 2, 3, 0]), (3, [0, 0, 1, 1, 2, 2, 2, 0])]
)
def test_training_on_a_short_video_rounds_and_wraps_as_the_reference(num_frames, expected):
    assert segment_indices(num_frames, 8, mode="train").tolist() == expected


def test_the_same_generator_state_draws_the_same_frames():
    first = segment_indices(300, 8, mode="train", generator=generator(3))
    assert torch.equal(first, segment_indices(300, 8, mode="train", generator=generator(3)))
    assert not torch.equal(first, segment_indices(300, 8, mode="train", generator=generator(4)))


def test_dense_training_windows_start_anywhere_but_at_the_last_frame():
    starts = [int(dense_indices(70, 8, mode="train", generator=generator(s))[0]) for s in range(200)]
    assert set(starts) == set(range(6))


def test_dense_frames_are_an_interval_apart_and_wrap_around():
    assert dense_indices(20, 8, mode="train").tolist() == [0, 8, 16, 4, 12, 0, 8, 16]


def test_samplers_call_the_index_functions():
    assert uniform_sampler(3, mode="test", num_views=2)(9).tolist() == [1, 4, 7, 0, 3, 6]
    assert torch.equal(
        dense_sampler(8, mode="test", num_views=4)(300), dense_indices(300, 8, mode="test", num_positions=4)
    )


def test_twice_sample_takes_both_views_out_of_a_whole_clip():
    video = torch.arange(9).view(1, 9, 1, 1).expand(3, 9, 2, 2)
    assert TwiceSample(3)(video)[0, :, 0, 0].tolist() == [1, 4, 7, 0, 3, 6]


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: segment_indices(0, 8, mode="test"), "num_frames must be at least 1, got 0."),
        (lambda: segment_indices(8, 0, mode="test"), "num_segments must be at least 1, got 0."),
        (lambda: segment_indices(8, 8, mode="eval"), "mode must be 'train' or 'test', got 'eval'."),
        (
            lambda: segment_indices(8, 8, mode="train", twice_sample=True),
            "twice_sample must be False in mode",
        ),
        (lambda: dense_indices(80, 65, mode="test"), "num_segments must be in [1, sample_range=64], got 65."),
        (
            lambda: dense_indices(80, 8, mode="test", num_positions=0),
            "num_positions must be at least 1, got 0.",
        ),
        (lambda: uniform_sampler(8, mode="test", num_views=3), "num_views must be 1 or 2"),
    ],
)
def test_errors_name_the_argument_the_rule_and_the_value(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()
