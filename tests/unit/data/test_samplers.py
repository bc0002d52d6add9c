import re
from collections import Counter

import pytest
import torch

from tsn_tsm_plugin.data.samplers import EvalBatchSampler, SampleKey, TrainBatchSampler, balanced_order


def videos_of(sampler):
    return [key.video_index for batch in sampler for key in batch]


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
@pytest.mark.parametrize("num_videos", [1, 2, 3, 7, 12, 13, 40])
def test_evaluation_reads_every_video_exactly_once_over_all_ranks(num_videos, world_size):
    ranks = [
        EvalBatchSampler(num_videos, batch_size=3, world_size=world_size, rank=rank)
        for rank in range(world_size)
    ]

    assert sorted(index for sampler in ranks for index in videos_of(sampler)) == list(range(num_videos))
    assert [len(list(sampler)) for sampler in ranks] == [len(sampler) for sampler in ranks]


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
@pytest.mark.parametrize("num_videos", [1, 5, 24, 25])
def test_training_reads_every_video_and_pads_to_full_batches(num_videos, world_size):
    ranks = [
        TrainBatchSampler(num_videos, batch_size=2, world_size=world_size, rank=rank)
        for rank in range(world_size)
    ]

    batches = [list(sampler) for sampler in ranks]
    read = [key.video_index for rank_batches in batches for batch in rank_batches for key in batch]

    num_steps = -(-num_videos // (2 * world_size))
    assert {len(batch) for rank_batches in batches for batch in rank_batches} == {2}
    assert [len(rank_batches) for rank_batches in batches] == [num_steps] * world_size
    assert [len(sampler) for sampler in ranks] == [num_steps] * world_size
    assert set(read) == set(range(num_videos))
    assert len(read) - num_videos < 2 * world_size
    times = [read.count(index) for index in range(num_videos)]
    assert max(times) - min(times) <= 1


def test_a_step_of_all_ranks_holds_the_same_videos_whatever_their_number():
    def steps(world_size):
        ranks = [
            list(TrainBatchSampler(24, batch_size=12 // world_size, world_size=world_size, rank=rank))
            for rank in range(world_size)
        ]
        return [{key.video_index for batch in step for key in batch} for step in zip(*ranks, strict=True)]

    assert steps(1) == steps(2) == steps(3) == steps(4)


def test_the_order_depends_on_the_epoch_and_the_seed_and_on_nothing_else():
    def order(seed, epoch):
        sampler = TrainBatchSampler(50, batch_size=5, seed=seed)
        sampler.set_epoch(epoch)
        return videos_of(sampler)

    assert order(0, 0) == order(0, 0)
    assert len({tuple(order(seed, epoch)) for seed, epoch in [(0, 0), (0, 1), (0, 2), (9, 0)]}) == 4
    assert order(0, 3) != list(range(50))


def test_keys_carry_the_epoch():
    sampler = TrainBatchSampler(4, batch_size=4)
    sampler.set_epoch(7)

    (batch,) = sampler

    assert {key.epoch for key in batch} == {7}
    assert all(isinstance(key, SampleKey) for key in batch)


@pytest.mark.parametrize("sampler_class", [TrainBatchSampler, EvalBatchSampler])
@pytest.mark.parametrize("start_batch", range(7))
def test_start_batch_gives_exactly_the_tail_of_the_uninterrupted_epoch(sampler_class, start_batch):
    sampler = sampler_class(23, batch_size=2, world_size=2, rank=1)
    sampler.set_epoch(3)
    uninterrupted = list(sampler)

    sampler.set_epoch(3, start_batch=start_batch)

    assert list(sampler) == uninterrupted[start_batch:]
    assert len(sampler) == len(uninterrupted)


def test_the_next_epoch_starts_at_its_beginning_after_a_resumed_one():
    sampler = TrainBatchSampler(8, batch_size=2)
    sampler.set_epoch(0, start_batch=3)
    sampler.set_epoch(1)

    assert len(list(sampler)) == 4


def test_the_first_rank_reports_padding_once(caplog):
    caplog.set_level("INFO")

    samplers = [TrainBatchSampler(10, batch_size=2, world_size=2, rank=rank) for rank in range(2)]
    for sampler in samplers:
        list(sampler)

    assert caplog.messages == ["10 videos are padded by 2 to 3 steps of 4."]


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ({"num_videos": 0, "batch_size": 1}, "num_videos must be positive, got 0"),
        ({"num_videos": 1, "batch_size": 0}, "batch_size must be positive, got 0"),
        ({"num_videos": 1, "batch_size": 1, "world_size": 2, "rank": 2}, "rank must be in [0, world_size=2)"),
    ],
)
def test_an_impossible_share_is_refused(arguments, fault):
    with pytest.raises(ValueError, match=re.escape(fault)):
        EvalBatchSampler(**arguments)


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_dropping_the_rest_gives_full_steps_and_reads_no_video_twice(world_size, caplog):
    caplog.set_level("INFO")
    ranks = [
        TrainBatchSampler(25, batch_size=2, world_size=world_size, rank=rank, drop_last=True)
        for rank in range(world_size)
    ]

    batches = [list(sampler) for sampler in ranks]
    read = [key.video_index for of_rank in batches for batch in of_rank for key in batch]

    num_steps, num_dropped = divmod(25, 2 * world_size)
    assert {len(of_rank) for of_rank in batches} == {len(sampler) for sampler in ranks} == {num_steps}
    assert len(read) == len(set(read)) == 25 - num_dropped
    assert caplog.messages == [
        f"25 videos make {num_steps} steps of {2 * world_size}; {num_dropped} are dropped, others in every "
        "epoch."
    ]


def test_other_videos_are_dropped_in_another_epoch():
    sampler = TrainBatchSampler(25, batch_size=8, drop_last=True)
    read = set()
    for epoch in range(12):
        sampler.set_epoch(epoch)
        read |= set(videos_of(sampler))

    assert read == set(range(25))


def test_an_epoch_without_a_step_is_refused():
    with pytest.raises(
        ValueError, match="An epoch of 3 videos must fill one step of 8 if the rest is dropped"
    ):
        TrainBatchSampler(3, batch_size=4, world_size=2, drop_last=True)


def test_repeats_read_the_whole_list_again_in_another_order():
    sampler = TrainBatchSampler(6, batch_size=3, num_repeats=4)

    keys = [key for batch in sampler for key in batch]

    passes = [keys[start : start + 6] for start in range(0, 24, 6)]
    for reading, keys_of_pass in enumerate(passes):
        assert sorted(keys_of_pass) == [SampleKey(0, index, reading) for index in range(6)]
    assert len({tuple(key.video_index for key in keys_of_pass) for keys_of_pass in passes}) > 1


@pytest.mark.parametrize("arguments", [{}, {"num_repeats": 3}, {"balanced_labels": [0, 0, 0, 0, 1, 1, 2]}])
def test_no_two_readings_of_an_epoch_have_one_key_so_that_each_is_augmented_anew(arguments):
    ranks = [TrainBatchSampler(7, batch_size=2, world_size=2, rank=rank, **arguments) for rank in range(2)]

    keys = [key for sampler in ranks for batch in sampler for key in batch]

    assert len(keys) == len(set(keys)) > 7


def test_balanced_classes_come_equally_often_and_use_all_their_videos():
    labels = [0] * 20 + [1] * 5 + [2] * 3 + [3]
    order = balanced_order(labels, 29, torch.Generator().manual_seed(0)).tolist()

    classes = Counter(labels[index] for index in order)
    assert sorted(classes.values()) == [7, 7, 7, 8]
    times = Counter(order)
    assert max(times[index] for index in range(20)) == 1
    assert {times[index] for index in range(20, 25)} <= {1, 2}
    assert {times[index] for index in range(25, 28)} <= {2, 3}
    assert [labels[index] for index in order] != sorted(labels[index] for index in order)


@pytest.mark.parametrize(
    ("power", "classes"),
    [
        (1.0, {0: 64, 1: 16, 2: 4, 3: 1}),
        (0.5, {0: 45, 1: 22, 2: 11, 3: 5}),
        (1000.0, {0: 85}),
    ],
)
def test_classes_come_in_proportion_to_the_power_of_their_number_of_videos(power, classes):
    labels = [0] * 64 + [1] * 16 + [2] * 4 + [3]
    order = balanced_order(labels, 85, torch.Generator().manual_seed(0), power=power).tolist()

    drawn = Counter(labels[index] for index in order)
    assert drawn.total() == 85
    assert all(drawn[label] - count in (0, 1) for label, count in classes.items())
    if power == 1.0:
        assert sorted(order) == list(range(85))


def test_a_balanced_epoch_is_the_same_for_the_same_seed_and_shared_by_the_ranks():
    labels = [0] * 9 + [1] * 3

    def read(world_size, seed=0):
        ranks = [
            TrainBatchSampler(
                12,
                batch_size=12 // world_size,
                world_size=world_size,
                rank=rank,
                seed=seed,
                balanced_labels=labels,
            )
            for rank in range(world_size)
        ]
        return sorted(index for sampler in ranks for index in videos_of(sampler))

    assert read(1) == read(2) == read(4)
    assert read(1) != read(1, seed=1)
    assert Counter(labels[index] for index in read(1)) == {0: 6, 1: 6}


def test_fewer_draws_than_classes_are_possible():
    order = balanced_order(range(10), 3, torch.Generator().manual_seed(0))

    assert len(set(order.tolist())) == 3


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ({"num_repeats": 0}, "num_repeats must be positive, got 0"),
        ({"balanced_labels": [1]}, "balanced_labels must be num_videos = 4 labels, got 1"),
    ],
)
def test_an_impossible_epoch_is_refused(arguments, fault):
    with pytest.raises(ValueError, match=re.escape(fault)):
        TrainBatchSampler(4, batch_size=2, **arguments)
