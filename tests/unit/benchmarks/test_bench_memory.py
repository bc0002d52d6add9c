"""Counted memory against counts by hand, and against what autograd really keeps."""

from argparse import Namespace
from collections import Counter
from functools import partial

import pytest
import torch
from torch import nn

from tsn_tsm_plugin import create_tsm, create_tsn

MIB = 2**20


class Two(nn.Module):
    """Two convolutions over all frames at once and a mean: each value of its steps can be counted."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv3d(3, 4, 1, bias=False)
        self.second = nn.Conv3d(4, 2, 1, bias=False)

    def forward(self, video):
        return self.second(self.first(video)).mean(dim=(2, 3, 4))


@pytest.fixture
def bench(load):
    return load("bench_memory")


def test_states_and_kept_tensors_of_a_small_network_are_those_counted_by_hand(bench):
    clip = 8 * 16 * 16  # values of a channel
    count = bench.count(bench.Variant(Two), Namespace(batch=1, size=16))

    weights = 4 * (3 * 4 + 4 * 2)
    normalisation = 2 * 3 * 4
    assert count.states == pytest.approx(3 * weights + normalisation, abs=32)  # the loss and its like
    assert count.kept["Conv3d"] == 4 * (4 * clip)  # the first one's output; the second one's is averaged
    assert count.kept["Normalize"] == 4 * 3 * clip
    assert count.peak > count.states + count.kept.total() - weights


def test_what_is_kept_is_what_autograd_saves_of_real_tensors(bench):
    create = partial(create_tsn, backbone="resnet18", num_classes=3, num_segments=8, dropout_rate=0.0)
    count = bench.count(bench.Variant(create), Namespace(batch=2, size=32))
    torch.manual_seed(0)
    model = create().train()
    known = {t.untyped_storage().data_ptr() for t in [*model.parameters(), *model.buffers()]}
    saved = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        loss = model(torch.randn(2, 3, 8, 32, 32)).sum()

    assert loss.requires_grad
    assert count.kept.total() == pytest.approx(sum(saved.values()), rel=0.01)


def test_checkpointing_keeps_much_less(bench):
    create = partial(create_tsm, backbone="resnet18", num_classes=3)
    args = Namespace(batch=2, size=64)
    plain = bench.count(bench.Variant(create), args)
    saving = bench.count(bench.Variant(lambda: bench.checkpointed(create())), args)

    assert saving.kept.total() < 0.75 * plain.kept.total()
    assert saving.states == plain.states


def test_checkpointing_at_non_local_blocks_saves_their_memory(bench):
    args = Namespace(batch=2, size=64)
    create = partial(create_tsm, num_classes=3)
    plain = bench.count(bench.Variant(create), args)
    bare, saving = partial(create, non_local="gaussian"), partial(bench.checkpointed, which="non_local")
    whole = bench.count(bench.Variant(bare), args)
    saved = bench.count(bench.Variant(lambda: saving(bare())), args)

    assert whole.kept.total() > 1.2 * plain.kept.total()
    assert saved.kept.total() < plain.kept.total()


def test_targets_missed_are_reported(bench):
    def of(mib):
        return bench.Count(0, Counter(), mib * MIB)

    lines = bench.verdicts(
        {"bf16": of(3700), "bf16, checkpointed": of(1500), "non-local gaussian, bf16": of(3800)}
    )

    assert lines == [
        "- bf16: 3700 MiB of at most 3600: MISSED",
        "- bf16, checkpointed: 1500 MiB of at most 2000: holds",
        "- non-local gaussian, bf16: +2.7 % of at most +5 %: holds",
    ]
