"""Checkpoints that are kept, skipped and refused."""

import pytest
import torch

from tsn_tsm_plugin.engine.checkpoint import (
    checkpoint_path,
    keep_newest,
    list_checkpoints,
    load_checkpoint,
    load_newest_checkpoint,
    mark_best,
    save_checkpoint,
)
from tsn_tsm_plugin.engine.random_state import random_state, seed_all, set_random_state
from tsn_tsm_plugin.errors import CheckpointError


def state(step: int) -> dict:
    return {
        "model_state": {"weight": torch.full((3,), float(step))},
        "optimizer_state": {},
        "epoch": 0,
        "batch": step,
        "step": step,
        "config": "",
    }


def write(folder, *steps):
    for step in steps:
        save_checkpoint(state(step), checkpoint_path(folder, step=step))


def test_the_newest_is_the_one_with_the_highest_step(tmp_path):
    write(tmp_path, 9, 10, 100)

    assert load_newest_checkpoint(tmp_path)[1]["step"] == 100


def test_no_checkpoint_is_none(tmp_path):
    assert load_newest_checkpoint(tmp_path) is None


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"x" * len(b)])
def test_a_damaged_newest_is_skipped_and_named(tmp_path, caplog, damage):
    write(tmp_path, 1, 2)
    newest = checkpoint_path(tmp_path, step=2)
    newest.write_bytes(damage(newest.read_bytes()))

    assert load_newest_checkpoint(tmp_path)[1]["step"] == 1
    assert f"{newest} is cut off, damaged or" in caplog.text


def test_only_damaged_ones_are_an_error(tmp_path):
    checkpoint_path(tmp_path, step=1).write_bytes(b"nothing")

    with pytest.raises(CheckpointError, match=r"None of the 1 checkpoints in .* can be read"):
        load_newest_checkpoint(tmp_path)


def test_bare_weights_are_not_a_run_to_go_on_with(tmp_path):
    path = tmp_path / "step_1.pt"
    torch.save({"model_state": {}}, path)

    with pytest.raises(CheckpointError, match=r"lacks optimizer_state.*TRAIN\.CHECKPOINT_FILE_PATH"):
        load_checkpoint(path)


def test_the_newest_and_the_best_are_kept(tmp_path):
    write(tmp_path, 1)
    mark_best(checkpoint_path(tmp_path, step=1))
    write(tmp_path, 2, 3, 4)
    keep_newest(tmp_path, count=2)

    assert [p.name for p in list_checkpoints(tmp_path)] == ["step_00000004.pt", "step_00000003.pt"]
    assert torch.load(tmp_path / "best.pt", weights_only=True)["step"] == 1


def test_the_random_state_survives_a_checkpoint(tmp_path):
    import random

    import numpy as np

    def draw():
        return [random.random(), float(np.random.rand()), float(np.random.randn()), float(torch.rand(()))]

    seed_all(7, epoch=3, rank=1)
    draw()
    path = checkpoint_path(tmp_path, step=1)
    save_checkpoint({**state(1), "random_state": random_state()}, path)
    expected = draw()
    set_random_state(load_checkpoint(path)["random_state"])

    assert draw() == expected


def test_epochs_and_ranks_draw_different_numbers():
    def first(**where):
        seed_all(0, **where)
        return float(torch.rand(()))

    assert first() == first()
    assert len({first(), first(epoch=1), first(rank=1)}) == 3
