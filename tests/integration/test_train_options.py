"""Options of training, each in a whole run that ends, resumes to the same bits and reports its work."""

import itertools
import math
import re

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from support.runs import TinyBackbone, tiny_cfg, write_dataset
from support.tiers import slow_but

from tsn_tsm_plugin import engine
from tsn_tsm_plugin.engine.checkpoint import list_checkpoints, load_checkpoint
from tsn_tsm_plugin.errors import CheckpointError, ConfigError, DivergedError, RunFolderError
from tsn_tsm_plugin.models import build_model, load_weights
from tsn_tsm_plugin.runs.metrics_log import read_metrics

OPTIONS = {
    "EMA": {"EMA__ENABLE": True, "EMA__DECAY": 0.5},
    "precise batch norm": {"BN__USE_PRECISE_STATS": True},
    "partial batch norm": {"MODEL__PARTIAL_BN": True},
    "frozen stem": {"MODEL__FROZEN_MODULES": "[backbone.stem]"},
    "synchronised batch norm": {"BN__NORM_TYPE": "sync_batchnorm"},
    "activation checkpointing": {"MODEL__ACT_CHECKPOINT": True},
    "checkpointing of non-local blocks": {
        "NONLOCAL__ACT_CHECKPOINT": True,
        "NONLOCAL__INSTANTIATION": "gaussian",
        "NONLOCAL__LOCATION": "[conv]",
    },
    "AdamW": {"SOLVER__OPTIMIZING_METHOD": "adamw", "SOLVER__BASE_LR": 0.001},
    "LARS": {"SOLVER__OPTIMIZING_METHOD": "lars"},
    "bf16": {"TRAIN__MIXED_PRECISION": "bf16"},
    "fp16": {"TRAIN__MIXED_PRECISION": "fp16"},
    "accumulation": {"TRAIN__MAX_CLIPS_PER_FORWARD": 1},
    "deterministic": {"DETERMINISTIC": True},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(autouse=True)
def _algorithms_as_before():
    yield
    torch.use_deterministic_algorithms(False)


def final_state(folder, out="run"):
    return load_checkpoint(list_checkpoints(folder / out / "checkpoints")[0])


def test_frozen_statistics_are_the_initial_ones_after_a_run(tmp_path, data):
    engine.train(tiny_cfg(tmp_path, data=data, BN__FREEZE_STATS=True, SOLVER__MAX_EPOCH=1))
    weights = final_state(tmp_path)["model_state"]
    assert {float(weights[name].sum()) for name in weights if name.endswith("running_mean")} == {0.0}


@pytest.mark.parametrize(
    "options",
    slow_but(["precise batch norm", "synchronised batch norm", "AdamW", "bf16", "accumulation"], OPTIONS),
)
def test_with_every_option_a_stopped_run_ends_with_the_same_bits(tmp_path, data, options, device):
    # On a GPU sums come in any order unless this is asked for.
    options = options | {"DETERMINISTIC": device.type == "cuda" or "DETERMINISTIC" in options}
    engine.train(tiny_cfg(tmp_path, data=data, out="whole", **options))
    cfg = tiny_cfg(tmp_path, data=data, **options)
    polls = itertools.count()
    with pytest.raises(engine.TrainingStopped):
        engine.train(cfg, stop_requested=lambda: next(polls) >= 2)
    engine.train(cfg)
    mine, theirs = final_state(tmp_path), final_state(tmp_path, "whole")
    losses = [r["train/loss"] for r in read_metrics(tmp_path / "run" / "metrics.jsonl") if "train/loss" in r]

    assert len(losses) == 6 and all(math.isfinite(loss) for loss in losses)
    assert mine["step"] == theirs["step"]
    for key in ("model_state", "trained_state"):
        for name, tensor in theirs.get(key, {}).items():
            assert torch.equal(mine[key][name], tensor), name


def test_the_moving_average_is_what_is_tested_and_loaded(tmp_path, data):
    cfg = tiny_cfg(tmp_path, data=data, EMA__ENABLE=True, EMA__DECAY=0.9)
    results = engine.train(cfg)
    state = final_state(tmp_path)
    model = build_model(cfg)
    load_weights(model, state["model_state"])

    assert not torch.equal(state["model_state"]["head.fc.weight"], state["trained_state"]["head.fc.weight"])
    assert torch.equal(model.head.fc.weight, state["model_state"]["head.fc.weight"])
    assert engine.evaluate(cfg)["loss"] == results["loss"]


def test_precise_statistics_come_from_the_epoch_and_the_last_weights(tmp_path, data):
    cfg = tiny_cfg(
        tmp_path, data=data, BN__USE_PRECISE_STATS=True, SOLVER__MAX_EPOCH=1, MODEL__DROPOUT_RATE=0
    )
    engine.train(cfg)
    engine.train(tiny_cfg(tmp_path, data=data, out="plain", SOLVER__MAX_EPOCH=1, MODEL__DROPOUT_RATE=0))
    precise, plain = final_state(tmp_path)["model_state"], final_state(tmp_path, "plain")["model_state"]

    assert torch.equal(precise["head.fc.weight"], plain["head.fc.weight"])
    assert not torch.equal(precise["backbone.norm.running_mean"], plain["backbone.norm.running_mean"])


def test_a_loss_that_is_not_a_number_stops_the_run_and_names_the_videos(tmp_path, data):
    cfg = tiny_cfg(
        tmp_path, data=data, SOLVER__MAX_EPOCH=3, SOLVER__CLIP_GRAD_L2NORM=0, TRAIN__MAX_NONFINITE_STEPS=1
    )
    engine.train(tiny_cfg(tmp_path, data=data, SOLVER__MAX_EPOCH=1))
    good = final_state(tmp_path)["step"]
    poisoned = load_checkpoint(list_checkpoints(tmp_path / "run" / "checkpoints")[0])
    poisoned["model_state"]["head.fc.bias"].fill_(float("inf"))
    torch.save(poisoned, list_checkpoints(tmp_path / "run" / "checkpoints")[0])

    with pytest.raises(DivergedError, match=r"not finite for 2 steps in a row, up to step 5.*train_\d\.mp4"):
        engine.train(cfg)
    assert final_state(tmp_path)["step"] == good


@pytest.mark.parametrize("precision", ["off", "fp16"])
def test_gradients_that_are_never_finite_stop_the_run_even_if_epochs_are_short(
    tmp_path, data, monkeypatch, precision
):
    forward = TinyBackbone.forward

    def with_bad_gradient(self, x):
        features = forward(self, x)
        if features.requires_grad:
            features.register_hook(lambda gradient: gradient * float("nan"))
        return features

    monkeypatch.setattr(TinyBackbone, "forward", with_bad_gradient)
    overrides = {"SOLVER__MAX_EPOCH": 20, "TRAIN__MAX_NONFINITE_STEPS": 4, "TRAIN__EVAL_PERIOD": 0}
    # fp16 starts with a factor of 65536; only below 1 is it not the factor's fault.
    step = 5 if precision == "off" else 16 + 5

    with pytest.raises(DivergedError, match=rf"not finite for 5 steps in a row, up to step {step} "):
        engine.train(tiny_cfg(tmp_path, data=data, TRAIN__MIXED_PRECISION=precision, **overrides))


def test_precise_statistics_come_from_the_moving_average(tmp_path, data):
    overrides = {"EMA__ENABLE": True, "EMA__DECAY": 0.9, "SOLVER__MAX_EPOCH": 1, "MODEL__DROPOUT_RATE": 0}
    engine.train(tiny_cfg(tmp_path, data=data, BN__USE_PRECISE_STATS=True, **overrides))
    engine.train(tiny_cfg(tmp_path, data=data, out="plain", **overrides))
    precise, plain = final_state(tmp_path), final_state(tmp_path, "plain")

    name = "backbone.norm.running_mean"
    assert torch.equal(precise["model_state"]["head.fc.weight"], plain["model_state"]["head.fc.weight"])
    assert not torch.equal(precise["model_state"][name], plain["model_state"][name])
    assert torch.equal(precise["trained_state"][name], plain["trained_state"][name])


def test_the_same_recipe_twice_gives_the_same_bits(tmp_path, data):
    for out in ("one", "two"):
        engine.train(tiny_cfg(tmp_path, data=data, out=out, DETERMINISTIC=True, SOLVER__MAX_EPOCH=1))
    one, two = (load_file(tmp_path / out / "weights.safetensors") for out in ("one", "two"))

    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_the_exported_weights_carry_what_is_needed_to_use_them(tmp_path, data):
    cfg = tiny_cfg(tmp_path, data=data, SOLVER__MAX_EPOCH=1)
    engine.train(cfg)
    with safe_open(tmp_path / "run" / "weights.safetensors", "pt") as file:
        metadata = file.metadata()
    assert metadata["class_names"] == '["still", "slow", "fast"]'
    assert "BACKBONE: tiny" in metadata["config"]
    weights = str(tmp_path / "run" / "weights.safetensors")
    again = engine.evaluate(tiny_cfg(tmp_path, data=data, out="again", TEST__CHECKPOINT_FILE_PATH=weights))
    assert again["confusion_matrix"] == engine.evaluate(cfg)["confusion_matrix"]


@pytest.mark.parametrize("frames", [1, pytest.param(2, marks=pytest.mark.slow), 5])
def test_chunks_of_views_change_no_result(tmp_path_factory, data, frames):
    folder = tmp_path_factory.mktemp("chunks")
    views = {
        "DATA__TEST_SHORT_SIDE": 32,
        "TEST__NUM_ENSEMBLE_VIEWS": 2,
        "TEST__NUM_SPATIAL_CROPS": 3,
        "SOLVER__MAX_EPOCH": 1,
    }
    whole = engine.train(tiny_cfg(folder, data=data, **views))
    chunks = engine.evaluate(tiny_cfg(folder, data=data, **views, TEST__MAX_FRAMES_PER_FORWARD=frames))

    assert chunks["views_per_video"] == whole["views_per_video"] == 6
    assert chunks["confusion_matrix"] == whole["confusion_matrix"]
    assert chunks["loss"] == pytest.approx(whole["loss"], rel=1e-5)


def test_checkpoints_come_every_so_many_steps(tmp_path, data):
    cfg = tiny_cfg(
        tmp_path, data=data, TRAIN__CHECKPOINT_STEPS=2, TRAIN__KEEP_CHECKPOINTS=9, SOLVER__MAX_EPOCH=1
    )
    engine.train(cfg)

    assert [p.name for p in list_checkpoints(tmp_path / "run" / "checkpoints")] == [
        "step_00000003.pt", "step_00000002.pt",
    ]  # fmt: skip


def test_checkpoints_come_every_so_many_minutes(tmp_path, data):
    minutes = 1e-9  # less than a step takes
    cfg = tiny_cfg(
        tmp_path, data=data, TRAIN__CHECKPOINT_MINUTES=minutes, TRAIN__KEEP_CHECKPOINTS=9, SOLVER__MAX_EPOCH=1
    )
    engine.train(cfg)

    assert len(list_checkpoints(tmp_path / "run" / "checkpoints")) == 3


def test_a_learning_rate_scaled_with_the_batch_is_reported_and_used(tmp_path, data):
    scaled = {"SOLVER__AUTO_SCALE_LR": True, "SOLVER__BASE_BATCH_SIZE": 2, "SOLVER__MAX_EPOCH": 1}
    engine.train(tiny_cfg(tmp_path, data=data, **scaled))

    assert "lr 0.02, scaled from 0.01 for 2 clips" in (tmp_path / "run" / "log.txt").read_text()
    rates = [r["train/lr"] for r in read_metrics(tmp_path / "run" / "metrics.jsonl") if "train/lr" in r]
    assert set(rates) == {0.02}


def test_a_full_disk_ends_the_run_with_the_last_checkpoint_kept(tmp_path, data, monkeypatch):
    cfg = tiny_cfg(tmp_path, data=data)
    engine.train(tiny_cfg(tmp_path, data=data, SOLVER__MAX_EPOCH=1))
    monkeypatch.setattr("os.fsync", lambda fd: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(RunFolderError, match=r"could not be written: No space left on device"):
        engine.train(cfg)
    monkeypatch.undo()

    assert [p.name for p in list_checkpoints(tmp_path / "run" / "checkpoints")] == ["step_00000003.pt"]
    assert engine.train(cfg)["step"] == 6


def test_a_read_only_folder_is_refused_in_one_sentence(tmp_path, data, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: False)  # to root nothing is read-only
    with pytest.raises(ConfigError, match=r"OUTPUT_DIR .*run cannot be written: .* is not a folder that you"):
        engine.train(tiny_cfg(tmp_path, data=data))


def test_a_run_folder_that_is_a_file_is_refused_in_one_sentence(tmp_path, data):
    (tmp_path / "run").write_text("")
    with pytest.raises(ConfigError, match=r"OUTPUT_DIR .*run cannot be written: .*run is not a folder"):
        engine.train(tiny_cfg(tmp_path, data=data))


def test_another_label_map_is_refused(tmp_path, data):
    engine.train(tiny_cfg(tmp_path, data=data, SOLVER__MAX_EPOCH=1))
    (data / "others.txt").write_text("a\nb\nc\n")
    with pytest.raises(CheckpointError, match=r"label map differs.*'still'"):
        engine.train(tiny_cfg(tmp_path, data=data, DATA__LABEL_MAP="others.txt"))


def test_fine_tuning_starts_from_weights_with_a_fresh_classifier(tmp_path, data):
    engine.train(tiny_cfg(tmp_path, data=data, SOLVER__MAX_EPOCH=1))
    weights = str(tmp_path / "run" / "checkpoints" / "best.pt")
    cfg = tiny_cfg(
        tmp_path,
        data=data,
        out="tuned",
        TRAIN__CHECKPOINT_FILE_PATH=weights,
        TRAIN__CHECKPOINT_IGNORE_HEAD=True,
    )
    engine.train(cfg)

    log = (tmp_path / "tuned" / "log.txt").read_text()
    assert re.search(rf"Weights to start from: {weights}: .*\d+ entries loaded", log)


def test_an_online_network_may_start_from_one_that_looks_ahead_if_the_recipe_allows_it(tmp_path, data):
    engine.train(tiny_cfg(tmp_path, data=data, SOLVER__MAX_EPOCH=1))
    weights = str(tmp_path / "run" / "checkpoints" / "best.pt")
    overrides = {"TSM__CAUSAL": True, "TRAIN__CHECKPOINT_FILE_PATH": weights, "SOLVER__MAX_EPOCH": 1}

    with pytest.raises(ConfigError, match=r"causal=False .*TRAIN\.CHECKPOINT_ALLOW_MISMATCH \['causal'\]"):
        engine.train(tiny_cfg(tmp_path, data=data, out="tuned", **overrides))

    overrides["TRAIN__CHECKPOINT_ALLOW_MISMATCH"] = "[causal]"
    engine.train(tiny_cfg(tmp_path, data=data, out="tuned", **overrides))
    assert "Weights to start from" in (tmp_path / "tuned" / "log.txt").read_text()


def test_the_checkpoint_of_a_run_is_tested_with_its_own_shift_only(tmp_path, data):
    engine.train(tiny_cfg(tmp_path, data=data, SOLVER__MAX_EPOCH=1))
    with pytest.raises(CheckpointError, match=r"shift_div=8 .*the model for shift_div=4"):
        engine.evaluate(tiny_cfg(tmp_path, data=data, TSM__SHIFT_DIV=4))


def test_a_frozen_module_that_does_not_exist_is_a_config_error(tmp_path, data):
    with pytest.raises(ConfigError, match=r"FROZEN_MODULES .*backbone\.stem"):
        engine.train(tiny_cfg(tmp_path, data=data, MODEL__FROZEN_MODULES="[backbone.stern]"))
