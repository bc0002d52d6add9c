"""Every key of the schema: what another value does to a run that resumes, and to its records."""

import json

import pytest
import torch
from support.runs import tiny_cfg

from tsn_tsm_plugin.config import CfgNode
from tsn_tsm_plugin.config.defaults import KEYS, node_of
from tsn_tsm_plugin.config.key import FIXED, FIXED_WITHIN_EPOCH, FREE, RECORDED
from tsn_tsm_plugin.config.node import OptionsNode
from tsn_tsm_plugin.config.run_dir import is_same_run
from tsn_tsm_plugin.engine.resume import note_changed_settings, results_of_finished_run
from tsn_tsm_plugin.engine.training_state import TrainingState
from tsn_tsm_plugin.errors import CheckpointError, RunFolderError
from tsn_tsm_plugin.models import build_model
from tsn_tsm_plugin.ranks import Ranks
from tsn_tsm_plugin.runs.run_folder import RunFolder

CLASS_NAMES = ["a", "b", "c"]
# No number of a run may depend on these keys. A new key must not join them by accident.
FREE_KEYS = {
    "DATA.STAGE_TO", "DATA_LOADER.MAX_WAIT_SECONDS", "DATA_LOADER.NUM_WORKERS", "DATA_LOADER.PIN_MEMORY",
    "DATA_LOADER.START_METHOD", "LOGGERS", "LOG_PERIOD", "OUTPUT_DIR", "TENSORBOARD.ENABLE",
    "TEST.CHECKPOINT_MINUTES", "TEST.OUTPUT_DIR", "TRAIN.AUTO_RESUME", "TRAIN.CHECKPOINT_MINUTES",
    "TRAIN.CHECKPOINT_PERIOD", "TRAIN.CHECKPOINT_STEPS", "TRAIN.KEEP_CHECKPOINTS", "TRAIN.STOP_GRACE_SECONDS",
}  # fmt: skip
# Keys that decide a forward pass in training: the network, its frames, their sizes and their values.
FORWARD_PASS = {
    *(f"MODEL.{name}" for name in ("ARCH", "BACKBONE", "BACKBONE_OPTIONS", "HEAD", "NUM_CLASSES")),
    *(f"TSM.{name}" for name in ("SHIFT_DIV", "SHIFT_PLACE", "SITES", "TEMPORAL_POOL", "CAUSAL")),
    *(f"NONLOCAL.{name}" for name in ("LOCATION", "INSTANTIATION", "USE_SCALE", "SUB_SAMPLE")),
    *(f"DATA.{name}" for name in ("MEAN", "STD", "NUM_FRAMES", "SAMPLER", "DENSE_WINDOW", "MODALITY")),
    *("DATA.MULTI_LABEL", "DATA.TRAIN_SHORT_SIDE", "DATA.TRAIN_CROP_SIZE", "AUG.CROP"),
}

every_key = pytest.mark.parametrize("key", KEYS.values(), ids=list(KEYS))


def other(value):
    """Return another value of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, str):
        return f"{value}x"
    return {"x": 1} if isinstance(value, dict) else [*value, 1]


def config_with(key, value):
    """Return a config that holds this key and what the end of a run depends on."""
    cfg = CfgNode()
    for name, its in {
        "SOLVER.MAX_EPOCH": 2,
        "TRAIN.MAX_CLIPS_PER_FORWARD": 1,
        "DATA.VAL_LIST": "",
        "DATA.TEST_LIST": "",
        key.name: value,
    }.items():
        node, last = node_of(cfg, name, create=True)
        node[last] = OptionsNode(its) if isinstance(its, dict) else its
    return cfg


def before_and_now(key):
    return config_with(key, key.default).dump(), config_with(key, other(key.default))


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    folder = tmp_path_factory.mktemp("state")
    model = build_model(tiny_cfg(folder, data=folder))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler(enabled=False)
    return TrainingState(
        model, optimizer, scaler=scaler, ranks=Ranks(), steps_per_epoch=3, class_names=CLASS_NAMES
    )


@pytest.fixture(scope="module")
def saved(state):
    return state.snapshot()


def test_only_these_keys_change_no_number_of_a_run():
    assert {key.name for key in KEYS.values() if key.on_resume == FREE} == FREE_KEYS


def test_what_a_forward_pass_is_made_of_is_fixed():
    assert {name for name in FORWARD_PASS if KEYS[name].on_resume != FIXED} == set()


@every_key
def test_a_resumed_run_refuses_takes_with_a_warning_or_takes_another_value(state, saved, key, caplog):
    before, now = before_and_now(key)
    for batch, refused in ((0, (FIXED,)), (1, (FIXED, FIXED_WITHIN_EPOCH))):
        content = {**saved, "config": before, "batch": batch}
        state.config = now.dump()
        caplog.clear()

        def restore(content=content):
            state.restore(content)

        if key.on_resume in refused:
            with pytest.raises(CheckpointError, match=rf"cannot go on.* with another {key.name}: "):
                restore()
        else:
            restore()
            is_named = f"changed since the checkpoint: {key.name}: " in caplog.text
            assert is_named == (key.on_resume in (RECORDED, FIXED_WITHIN_EPOCH))


def test_another_value_of_any_key_is_recorded_with_its_first_step(tmp_path, monkeypatch):
    monkeypatch.setattr("os.fsync", lambda descriptor: None)  # 150 files
    folder, recorded = RunFolder(tmp_path), {}
    for key in KEYS.values():
        before, now = before_and_now(key)
        note_changed_settings(now, folder, {"config": before, "step": 7})
        if folder.config_changes.exists():
            recorded[key.name] = json.loads(folder.config_changes.read_text())
            folder.config_changes.unlink()

    assert set(KEYS) - set(recorded) == FREE_KEYS
    for name, line in recorded.items():
        (change,) = line["changed"]
        assert line["from_step"] == 7 and change.startswith(f"{name}: ")


def test_another_value_of_any_key_leaves_a_complete_run_as_it_is(tmp_path):
    folder, accepted = RunFolder(tmp_path), set()
    folder.weights.write_bytes(b"")
    folder.results.write_text('{"step": 7}')
    for key in KEYS.values():
        before, now = before_and_now(key)
        content = {"config": before, "epoch": 99, "batch": 0, "steps_per_epoch": 3, "step": 7}
        try:
            assert results_of_finished_run(now, folder, content) == {"step": 7}
            accepted.add(key.name)
        except RunFolderError as error:
            assert "is complete" in str(error) and f"other settings ({key.name}: " in str(error)

    assert accepted == FREE_KEYS
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_file()) == [
        "results.json",
        "weights.safetensors",
    ]


def test_another_value_of_a_key_that_training_depends_on_makes_another_run(tmp_path):
    same = set()
    for key in KEYS.values():
        before, now = before_and_now(key)
        (tmp_path / "config.yaml").write_text(before)
        if is_same_run(now, tmp_path / "config.yaml"):
            same.add(key.name)

    assert same == FREE_KEYS | {name for name in KEYS if name.startswith("TEST.")}


def test_a_change_that_no_weights_saw_is_taken_out_of_the_records(tmp_path):
    folder, key = RunFolder(tmp_path), KEYS["SOLVER.BASE_LR"]

    def resume(step, *, before, now):
        note_changed_settings(
            config_with(key, now), folder, {"config": config_with(key, before).dump(), "step": step}
        )

    resume(3, before=0.1, now=0.2)
    resume(6, before=0.2, now=0.5)
    resume(6, before=0.2, now=0.3)  # Killed before its first checkpoint, and started with another value.
    assert [json.loads(line) for line in folder.config_changes.read_text().splitlines()] == [
        {"from_step": 3, "changed": ["SOLVER.BASE_LR: 0.1 -> 0.2"]},
        {"from_step": 6, "changed": ["SOLVER.BASE_LR: 0.2 -> 0.3"]},
    ]
    resume(6, before=0.2, now=0.2)
    (line,) = folder.config_changes.read_text().splitlines()
    assert json.loads(line)["from_step"] == 3
