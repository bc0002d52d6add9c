"""Checkpoints that the disk has changed: the one before is taken and reported."""

import shutil

import pytest
import torch
from support.runs import tiny_cfg, write_dataset

from tsn_tsm_plugin import engine
from tsn_tsm_plugin.checkpoints.read_checkpoint import read_checkpoint
from tsn_tsm_plugin.checkpoints.torch_file import read_torch_file
from tsn_tsm_plugin.engine.checkpoint import list_checkpoints
from tsn_tsm_plugin.errors import CheckpointError, ConfigError, NewerCheckpointError
from tsn_tsm_plugin.inference.trained_model import load_trained
from tsn_tsm_plugin.models import create_tsm, load_weights


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of two epochs with two checkpoints and the best."""
    root = tmp_path_factory.mktemp("finished")
    data = write_dataset(root / "data")
    engine.train(tiny_cfg(root, data=data))
    return root


@pytest.fixture
def run(finished, tmp_path):
    shutil.copytree(finished / "run", tmp_path / "run")
    (tmp_path / "data").symlink_to(finished / "data")
    return tmp_path


def zeros(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 3 : len(content) // 3 + 2048] = bytes(2048)
    path.write_bytes(content)


def flipped_bit(path):
    weights = torch.load(path, weights_only=True)["model_state"]["backbone.stem.0.weight"]
    content = bytearray(path.read_bytes())
    content[content.index(bytes(weights.untyped_storage())) + 5] ^= 4
    path.write_bytes(content)


def nan(path):
    content = torch.load(path, weights_only=True)
    content["model_state"]["backbone.stem.0.weight"][0, 0, 0, 0] = torch.nan
    torch.save(content, path)


def nan_in_the_optimizer(path):
    content = torch.load(path, weights_only=True)
    content["optimizer_state"]["state"][0]["momentum_buffer"][0, 0] = torch.nan
    torch.save(content, path)


def wrong_types(path):
    torch.save({**torch.load(path, weights_only=True), "step": "12"}, path)


DAMAGES = [zeros, flipped_bit, nan, nan_in_the_optimizer, wrong_types]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_training_goes_on_from_the_checkpoint_before_a_damaged_one_and_reports_it(run, damage):
    newest, before = list_checkpoints(run / "run" / "checkpoints")[:2]
    damage(newest)

    engine.train(tiny_cfg(run, data=run / "data", SOLVER__MAX_EPOCH=2))

    log = (run / "run" / "log.txt").read_text()
    assert f"{newest} is" in log and "Trying the checkpoint before it" in log
    assert f"Going on from {before}" in log


@pytest.mark.parametrize("damage", [zeros, flipped_bit, nan], ids=lambda damage: damage.__name__)
def test_a_folder_of_weights_stands_for_the_newest_that_is_whole(run, damage, caplog):
    newest, before = list_checkpoints(run / "run" / "checkpoints")[:2]
    damage(newest)

    assert load_trained(run / "run").weights == str(before)
    assert f"{newest} is" in caplog.text


@pytest.mark.parametrize("key", [{}, {"TEST__CHECKPOINT_FILE_PATH": "run"}], ids=["output", "named"])
def test_an_evaluation_reads_the_newest_checkpoint_once(run, monkeypatch, key):
    reads = []

    def read(path):
        reads.append(path)
        return read_torch_file(path)

    monkeypatch.setattr("tsn_tsm_plugin.checkpoints.read_checkpoint.read_torch_file", read)
    monkeypatch.chdir(run)
    results = engine.evaluate(tiny_cfg(run, data=run / "data", **key))

    assert [path.name for path in reads] == [list_checkpoints(run / "run" / "checkpoints")[0].name]
    assert results["weights"].endswith(reads[0].name)


@pytest.mark.parametrize("name", ["best.pt", "weights.safetensors"])
def test_damaged_weights_that_are_named_are_an_error(run, name):
    path = run / "run" / ("checkpoints/best.pt" if name == "best.pt" else name)
    weights = read_checkpoint(path).state_dict["backbone.stem.0.weight"]
    content = bytearray(path.read_bytes())
    content[content.index(bytes(weights.untyped_storage())) + 5] ^= 4
    path.unlink()  # best.pt is the same file as a checkpoint.
    path.write_bytes(content)

    for load in (
        load_trained,
        lambda path: engine.evaluate(
            tiny_cfg(run, data=run / "data", out="e", TEST__CHECKPOINT_FILE_PATH=str(path))
        ),
        lambda path: engine.train(
            tiny_cfg(run, data=run / "data", out="t", TRAIN__CHECKPOINT_FILE_PATH=str(path))
        ),
    ):
        with pytest.raises((CheckpointError, ConfigError), match="damaged"):
            load(path)


def test_text_in_the_header_of_safetensors_belongs_to_the_fingerprint(run):
    path = run / "run" / "weights.safetensors"
    path.write_bytes(path.read_bytes().replace(b"SHIFT_DIV: 8", b"SHIFT_DIV: 4"))

    with pytest.raises(CheckpointError, match="differs from its fingerprint"):
        read_checkpoint(path)


def test_a_checkpoint_of_a_newer_version_is_neither_damaged_nor_written_over(run):
    newest = list_checkpoints(run / "run" / "checkpoints")[0]
    torch.save({**torch.load(newest, weights_only=True), "format": 99}, newest)
    before = {path: path.read_bytes() for path in (run / "run" / "checkpoints").iterdir()}

    for use in (
        lambda: engine.train(tiny_cfg(run, data=run / "data", SOLVER__MAX_EPOCH=3)),
        lambda: engine.evaluate(tiny_cfg(run, data=run / "data")),
        lambda: load_trained(run / "run"),
        lambda: load_weights(create_tsm(backbone="resnet18"), newest),
    ):
        with pytest.raises(NewerCheckpointError, match="has format 99, this version reads up to"):
            use()

    assert before == {path: path.read_bytes() for path in (run / "run" / "checkpoints").iterdir()}


@pytest.mark.parametrize(
    "key", ["batch", "steps_per_epoch", "epoch_totals", "random_state", "optimizer_state"]
)
def test_a_checkpoint_with_strange_state_is_an_error_in_one_line(run, key):
    for path in list_checkpoints(run / "run" / "checkpoints"):
        torch.save({**torch.load(path, weights_only=True), key: {"strange": [1]}}, path)

    with pytest.raises(CheckpointError) as caught:
        engine.train(tiny_cfg(run, data=run / "data", SOLVER__MAX_EPOCH=3))
    assert len(str(caught.value).splitlines()) == 1


def test_one_key_lets_a_network_differ_when_it_is_tested_and_used(run):
    weights = str(run / "run" / "checkpoints" / "best.pt")
    other = {"TSM__SHIFT_DIV": 4, "TEST__CHECKPOINT_FILE_PATH": weights}

    with pytest.raises(CheckpointError, match=r"Set TSM\.SHIFT_DIV 8, or .*--allow-mismatch shift_div"):
        engine.evaluate(tiny_cfg(run, data=run / "data", out="e", **other))
    allowed = {**other, "TRAIN__CHECKPOINT_ALLOW_MISMATCH": "[shift_div]"}
    engine.evaluate(tiny_cfg(run, data=run / "data", out="e", **allowed))

    with pytest.raises(CheckpointError, match="--allow-mismatch shift_div"):
        load_trained(weights, opts=["TSM.SHIFT_DIV", "4"])
    opts = ["TSM.SHIFT_DIV", "4", "TRAIN.CHECKPOINT_ALLOW_MISMATCH", "['shift_div']"]
    assert load_trained(weights, opts=opts).model.shift_div == 4
