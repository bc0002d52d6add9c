"""Whole runs on a device: their records of the device, resuming, and equal scores in other programs."""

import itertools
import json
import math
import re

import pytest
import torch
from support.devices import on_a_gpu
from support.runs import tiny_cfg, write_dataset
from support.tf32 import without_tf32
from support.trained import write_checkpoint
from support.videos import write_video

from tsn_tsm_plugin import engine
from tsn_tsm_plugin.data.build import build_loader
from tsn_tsm_plugin.engine.checkpoint import list_checkpoints, load_checkpoint
from tsn_tsm_plugin.evaluation import read_dump
from tsn_tsm_plugin.runs.metrics_log import read_metrics
from tsn_tsm_plugin.tools import predict


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(autouse=True)
def _algorithms_as_before():
    yield
    torch.use_deterministic_algorithms(False)


def steps_of(run):
    return [record for record in read_metrics(run / "metrics.jsonl") if "train/loss" in record]


def weights_of(run):
    return load_checkpoint(list_checkpoints(run / "checkpoints")[0])["model_state"]


def test_a_run_reports_its_device_and_its_gpu_memory(tmp_path, data, device):
    engine.train(tiny_cfg(tmp_path, data=data, SOLVER__MAX_EPOCH=1))
    memory = [step.get("train/gpu_memory_gib", 0.0) for step in steps_of(tmp_path / "run")]
    log = (tmp_path / "run" / "log.txt").read_text()
    has_gpu = device.type == "cuda"

    assert len(memory) == 3
    assert all((0.0 < gib < 100.0) == has_gpu for gib in memory)
    assert bool(re.search(r"clips/s, data \d+ %, GPU \d+\.\d GiB, eta", log)) == has_gpu
    assert f"1 process(es), {device.type} (" in log


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("is_asked_for", [True, False])
def test_clips_for_a_gpu_wait_in_pinned_memory(tmp_path, data, device, num_workers, is_asked_for):
    options = {"DATA_LOADER__NUM_WORKERS": num_workers, "DATA_LOADER__PIN_MEMORY": is_asked_for}
    batch = next(iter(build_loader(tiny_cfg(tmp_path, data=data, **options), "train")))

    assert batch["video"].is_pinned() == batch["label"].is_pinned()
    assert batch["video"].is_pinned() == (is_asked_for and device.type == "cuda")


@pytest.mark.parametrize("precision", ["off", "bf16"])
def test_what_was_trained_on_a_device_scores_the_same_on_a_cpu(
    tmp_path, data, device, monkeypatch, precision
):
    views = {"DATA__TEST_SHORT_SIDE": 32, "TEST__NUM_ENSEMBLE_VIEWS": 2, "TEST__NUM_SPATIAL_CROPS": 3}
    options = views | {"SOLVER__MAX_EPOCH": 1, "TEST__SAVE_RESULTS_PATH": "scores.json"}
    with without_tf32():
        results = engine.train(tiny_cfg(tmp_path, data=data, TRAIN__MIXED_PRECISION=precision, **options))
    here, _ = read_dump(tmp_path / "run" / "scores.json")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    again = engine.evaluate(tiny_cfg(tmp_path, data=data, **options))
    there, _ = read_dump(tmp_path / "run" / "scores.json")

    assert here.view_logits.shape == (5, 6, 3)
    torch.testing.assert_close(here.view_logits, there.view_logits, rtol=1e-4, atol=1e-5)
    assert again["loss"] == pytest.approx(results["loss"], rel=1e-4)
    assert again["confusion_matrix"] == results["confusion_matrix"]


def test_a_network_predicts_on_the_device_that_is_asked_for_what_it_predicts_on_a_cpu(
    tmp_path, device, capsys
):
    video = write_video(tmp_path / "v.mp4", 10)
    weights = write_checkpoint(tmp_path / "w.pt")
    tops = []
    with without_tf32():
        for name in (str(device), "cpu"):
            words = ["--weights", str(weights), str(video), "--device", name, "--format", "json"]
            assert predict.main(words) == 0
            top = json.loads(capsys.readouterr().out)[0]["top"]
            tops.append({each["class"]: each["probability"] for each in top})

    assert tops[0] == pytest.approx(tops[1], abs=1e-3)


@on_a_gpu
def test_data_workers_beside_a_gpu_change_nothing(tmp_path, data, device):
    for out, num_workers in (("alone", 0), ("helped", 2)):
        options = {"DATA_LOADER__NUM_WORKERS": num_workers, "DETERMINISTIC": True}
        engine.train(tiny_cfg(tmp_path, data=data, out=out, **options))
    alone, helped = (weights_of(tmp_path / out) for out in ("alone", "helped"))

    assert all(torch.equal(helped[name], alone[name]) for name in alone)


@on_a_gpu
@pytest.mark.parametrize("precision", ["off", "bf16", "fp16"])
def test_a_resnet_trains_with_mixup_and_a_moving_average_and_goes_on_to_the_same_bits(
    tmp_path, data, device, precision
):
    options = {
        "MODEL__BACKBONE": "resnet50",
        "TRAIN__MIXED_PRECISION": precision,
        "MIXUP__ENABLE": True,
        "EMA__ENABLE": True,
        "DETERMINISTIC": True,
    }
    engine.train(tiny_cfg(tmp_path, data=data, out="whole", **options))
    polls = itertools.count()
    cfg = tiny_cfg(tmp_path, data=data, **options)
    with pytest.raises(engine.TrainingStopped):
        engine.train(cfg, stop_requested=lambda: next(polls) >= 4)
    engine.train(cfg)
    mine, theirs = weights_of(tmp_path / "run"), weights_of(tmp_path / "whole")

    assert all(math.isfinite(step["train/loss"]) for step in steps_of(tmp_path / "run"))
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


@on_a_gpu
def test_a_run_that_began_on_a_gpu_goes_on_on_a_cpu(tmp_path, data, device, monkeypatch):
    cfg = tiny_cfg(tmp_path, data=data)
    polls = itertools.count()
    with pytest.raises(engine.TrainingStopped):
        engine.train(cfg, stop_requested=lambda: next(polls) >= 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    engine.train(cfg)

    assert [step["step"] for step in steps_of(tmp_path / "run")] == [1, 2, 3, 4, 5, 6]
    assert "Going on from" in (tmp_path / "run" / "log.txt").read_text()


@pytest.mark.gpu
@pytest.mark.parametrize("device", ["cuda"], indirect=True)
def test_the_compiled_network_trains_and_is_not_skipped(tmp_path, data, device):
    engine.train(tiny_cfg(tmp_path, data=data, TRAIN__COMPILE=True, SOLVER__MAX_EPOCH=1))

    assert "torch.compile does not work here" not in (tmp_path / "run" / "log.txt").read_text()
    assert all(math.isfinite(step["train/loss"]) for step in steps_of(tmp_path / "run"))
