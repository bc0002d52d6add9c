"""A job is submitted only if its data and weights are there; ImageNet weights are fetched before."""

import pytest
from support.cli import submit
from support.runs import TinyBackbone, write_recipe

from launch.cluster import partitions
from tsn_tsm_plugin.engine import preflight
from tsn_tsm_plugin.errors import CheckpointError
from tsn_tsm_plugin.registry import BACKBONES

_QUICK = {
    "srun": "exit 1",
    "sinfo": "echo 'main*|infinite|4|16|(null)'",
    "scontrol": '[ "$2" = job ] && { echo "Invalid job id specified" >&2; exit 1; }\n'
    "echo NodeHostName=$(hostname | cut -d. -f1)",
}


@pytest.fixture
def num_submitted(tmp_path, monkeypatch):
    """Put programs of SLURM on PATH; return a function that counts the jobs that sbatch took."""
    folder, taken = tmp_path / "programs", tmp_path / "taken"
    folder.mkdir()
    sbatch = f'[ "$1" = --test-only ] && exit 0\necho >> {taken}; echo Submitted batch job 42'
    for name, script in {**_QUICK, "sbatch": sbatch}.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    partitions.partitions.cache_clear()
    yield lambda: len(taken.read_text().splitlines()) if taken.exists() else 0
    partitions.partitions.cache_clear()


@pytest.fixture
def words(tmp_path):
    recipe = write_recipe(tmp_path, data=tmp_path)
    return ["--cfg", recipe, "--snapshot", "none", f"OUTPUT_DIR={tmp_path / 'runs' / 'run'}"]


@pytest.fixture
def fetched(monkeypatch):
    """Register a backbone that notes which weights it is asked for; weights called ``gone`` do not exist."""
    found = []

    def fetching(*, weights=""):
        if weights == "gone":
            raise CheckpointError("gone: HTTP Error 404")
        found.append(weights)
        return TinyBackbone()

    BACKBONES.register("fetching")(fetching)
    monkeypatch.setattr(preflight, "_read", set())
    yield found
    BACKBONES.unregister("fetching")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("DATA.PATH_TO_DATA_DIR=/no/such/folder", "DATA.PATH_TO_DATA_DIR must be an existing folder"),
        ("DATA.TRAIN_LIST=missing.txt", "DATA.TRAIN_LIST: "),
        ("DATA.VAL_LIST=missing.txt", "DATA.VAL_LIST: "),
        ("DATA.LABEL_MAP=missing.txt", "missing.txt"),
        ("TRAIN.CHECKPOINT_FILE_PATH=missing.pt", "TRAIN.CHECKPOINT_FILE_PATH: "),
        ("MODEL.BACKBONE_WEIGHTS=./missing.pt", "MODEL.BACKBONE_WEIGHTS ./missing.pt is not a file"),
    ],
)
def test_what_the_job_would_miss_is_named_and_nothing_is_submitted(
    capsys, num_submitted, words, tmp_path, change, message
):
    ended = submit(capsys, *words, change)

    assert ended.code == 2
    assert message in ended.err
    assert num_submitted() == 0
    assert not (tmp_path / "runs").exists()


def test_imagenet_weights_are_fetched_before_the_job_is_submitted(capsys, num_submitted, words, fetched):
    wanted = ["MODEL.BACKBONE=fetching", "MODEL.BACKBONE_WEIGHTS=imagenet"]
    assert submit(capsys, *words, *wanted, "--dry-run").code == 0
    assert "imagenet" not in fetched
    assert submit(capsys, *words, *wanted).code == 0
    assert fetched.count("imagenet") == 1
    assert num_submitted() == 1


def test_weights_that_cannot_be_fetched_are_named_and_nothing_is_submitted(
    capsys, num_submitted, words, fetched
):
    ended = submit(capsys, *words, "MODEL.BACKBONE=fetching", "MODEL.BACKBONE_WEIGHTS=gone")

    assert ended.code == 2
    assert "MODEL.BACKBONE_WEIGHTS: gone: HTTP Error 404" in ended.err
    assert num_submitted() == 0
