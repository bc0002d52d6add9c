"""Learning rates, held against reference/mmaction.md 2.15 and SlowFast's rules by hand."""

import math

import pytest
import torch
from torch import nn

from tsn_tsm_plugin.config import get_cfg
from tsn_tsm_plugin.errors import ConfigError, UnknownComponentError
from tsn_tsm_plugin.solver import build_lr_schedule


def schedule(*, steps_per_epoch=10, **solver):
    cfg = get_cfg()
    cfg.SOLVER.BASE_LR = 1.0
    for key, value in solver.items():
        setattr(cfg.SOLVER, key, value)
    return build_lr_schedule(cfg, steps_per_epoch=steps_per_epoch)


def test_the_rate_drops_at_the_first_step_of_each_milestone_epoch():
    lr_at = schedule(STEPS=[0, 20, 40], LRS=[1.0, 0.1, 0.01], MAX_EPOCH=50).lr_at

    assert [lr_at(step) for step in (0, 199, 200, 399, 400, 499)] == [1.0, 1.0, 0.1, 0.1, 0.01, 0.01]


def test_warm_up_by_epoch_has_the_factors_of_mmaction():
    lr_at = schedule(WARMUP_EPOCHS=5.0, WARMUP_START_FACTOR=0.1).lr_at

    assert [lr_at(epoch * 10) for epoch in range(6)] == pytest.approx([0.1, 0.325, 0.55, 0.775, 1.0, 1.0])
    assert lr_at(9) == pytest.approx(0.1)  # constant within an epoch


def test_warm_up_by_step_rises_at_every_step_and_ends_with_the_last_warm_up_epoch():
    lr_at = schedule(WARMUP_EPOCHS=2.0, WARMUP_START_FACTOR=0.0, LR_PER_STEP=True).lr_at

    assert [lr_at(step) for step in (0, 5, 10, 20)] == pytest.approx([0.0, 0.25, 0.5, 1.0])


def test_cosine_by_epoch_and_by_step():
    by_epoch = schedule(LR_POLICY="cosine", MAX_EPOCH=4).lr_at
    by_step = schedule(LR_POLICY="cosine", MAX_EPOCH=4, LR_PER_STEP=True).lr_at

    assert [by_epoch(step) for step in (0, 9, 20)] == pytest.approx([1.0, 1.0, 0.5])
    assert by_step(15) == pytest.approx(0.5 * (1 + math.cos(math.pi * 1.5 / 4)))


def test_a_cosine_ends_at_its_end_factor():
    assert schedule(LR_POLICY="cosine", COSINE_END_LR=0.1, MAX_EPOCH=2, LR_PER_STEP=True).lr_at(
        20
    ) == pytest.approx(0.1)


def test_milestones_after_the_end_of_a_shortened_run_are_skipped():
    lr_at = schedule(STEPS=[0, 20, 40], LRS=[1.0, 0.1, 0.01], MAX_EPOCH=1).lr_at

    assert lr_at(9) == 1.0


def test_groups_get_their_own_multiple():
    net = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(
        [{"params": [net.weight], "lr_mult": 5.0}, {"params": [net.bias], "lr_mult": 10.0}], lr=0.0
    )

    assert schedule(WARMUP_EPOCHS=5.0).set_lr_(optimizer, 0) == pytest.approx(0.1)
    assert [g["lr"] for g in optimizer.param_groups] == pytest.approx([0.5, 1.0])


@pytest.mark.parametrize(
    ("solver", "message"),
    [
        ({"STEPS": [5, 10], "LRS": [1.0, 0.1]}, r"steps must ascend from 0, got \[5, 10\]"),
        ({"STEPS": [0, 10], "LRS": [1.0]}, r"relative_lrs must have one factor per entry"),
        ({"LR_POLICY": "linear"}, r"lr_policy 'linear' is not registered"),
    ],
)
def test_a_wrong_schedule_is_refused_by_name(solver, message):
    with pytest.raises((ConfigError, UnknownComponentError), match=message):
        schedule(**solver)


def test_a_cosine_after_the_warm_up_starts_at_its_end():
    lr_at = schedule(
        LR_POLICY="cosine", COSINE_AFTER_WARMUP=True, WARMUP_EPOCHS=5.0, MAX_EPOCH=15, COSINE_END_LR=0.1
    ).lr_at

    rates = [lr_at(10 * epoch) for epoch in range(15)]
    assert rates[:6] == pytest.approx([0.1, 0.325, 0.55, 0.775, 1.0, 1.0])
    assert rates[10] == pytest.approx(0.55)
    assert rates[14] == pytest.approx(0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * 0.9)))


def test_poly_falls_by_a_power_of_what_is_left_to_its_end():
    lr_at = schedule(LR_POLICY="poly", POLY_POWER=2.0, COSINE_END_LR=0.2, MAX_EPOCH=4).lr_at

    assert [lr_at(10 * epoch) for epoch in range(4)] == pytest.approx([1.0, 0.65, 0.4, 0.25])


def test_a_warm_up_as_long_as_the_run_leaves_no_decay():
    lr_at = schedule(LR_POLICY="cosine", COSINE_AFTER_WARMUP=True, WARMUP_EPOCHS=9.0, MAX_EPOCH=2).lr_at

    assert lr_at(0) == pytest.approx(0.1)
