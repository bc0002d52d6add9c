"""Gathering is exact: the same predictions for any number of ranks, each video once."""

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from tsn_tsm_plugin.evaluation import Predictions, gather_predictions, topk_accuracy

NUM_VIDEOS = 7


def batch_of(indices: list[int]) -> Predictions:
    index = torch.tensor(indices, dtype=torch.int64)
    scores = torch.stack([(index * 3 + k) % 5 for k in range(3)], dim=1).double()
    return Predictions(index, [f"{i}.mp4" for i in indices], index % 3, scores, scores[:, None])


def gather_as_rank(rank: int, world_size: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store{world_size}", rank=rank, world_size=world_size
    )
    shard = list(range(rank, NUM_VIDEOS, world_size))
    padded = [*shard, 0] if rank == world_size - 1 else shard  # a sampler that pads repeats a video
    gathered = gather_predictions([batch_of(padded[:2]), batch_of(padded[2:])])
    torch.save(vars(gathered), f"{folder}/{world_size}_{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.parametrize("world_size", [2, 3, 4])
def test_every_rank_holds_every_video_once_in_list_order(tmp_path, world_size):
    mp.spawn(gather_as_rank, args=(world_size, str(tmp_path)), nprocs=world_size)
    expected = batch_of(list(range(NUM_VIDEOS)))

    for rank in range(world_size):
        got = Predictions(**torch.load(tmp_path / f"{world_size}_{rank}.pt", weights_only=True))
        assert got.video_name == expected.video_name
        assert all(
            torch.equal(getattr(got, k), getattr(expected, k)) for k in ("video_index", "label", "scores")
        )
        assert topk_accuracy(got.scores, got.label, k=1) == topk_accuracy(
            expected.scores, expected.label, k=1
        )


def test_one_process_sorts_and_drops_repeats_too():
    gathered = gather_predictions([batch_of([3, 1]), batch_of([1, 0])])

    assert gathered.video_index.tolist() == [0, 1, 3]
    assert gathered.video_name == ["0.mp4", "1.mp4", "3.mp4"]


def test_nothing_gathered_is_none():
    assert gather_predictions([]) is None


def test_top_1_of_equal_scores_is_the_lower_class():
    assert (
        Predictions(torch.tensor([0]), ["a"], torch.tensor([0]), torch.ones(1, 4), torch.ones(1, 1, 4)).top1
        == 0
    )
