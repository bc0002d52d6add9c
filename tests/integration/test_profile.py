"""``submit.py profile`` leaves a trace of training steps, and nothing that a training would go on from."""

import gzip
import json

import pytest
from support.cli import submit
from support.ranks import join_from_env
from support.runs import tiny_cfg, write_dataset, write_recipe

from tsn_tsm_plugin import engine


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("tiny"), num_train=4, num_val=1)


def steps_in(trace):
    events = json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]
    return sum(event.get("name", "").startswith("Optimizer.step") for event in events)


def test_twenty_steps_are_traced_however_short_the_epochs_are(capsys, tmp_path, data):
    recipe = write_recipe(tmp_path, data=data)
    ended = submit(
        capsys,
        "profile",
        "--cfg",
        recipe,
        "--cluster",
        "debug",
        f"OUTPUT_DIR={tmp_path / 'run'}",
        "TRAIN.NUM_REPEATS=7",
    )

    assert ended.code == 0, ended.err
    folder = tmp_path / "run" / "profile"
    assert steps_in(folder / "trace.json.gz") == 20
    assert "aten::" in (folder / "operators.txt").read_text()
    assert list((folder / "checkpoints").iterdir()) == []
    assert not (folder / "results.json").exists()


@pytest.mark.slow
def test_the_other_ranks_end_with_the_rank_that_is_traced(tmp_path, data):
    cfg = tiny_cfg(tmp_path, data=data)
    join_from_env(2, lambda: engine.profile(cfg))

    assert steps_in(tmp_path / "run" / "trace.json.gz") == 20
