"""Bounds and records count over restarts, and a loader that fails ends a run with its checkpoint."""

import itertools
import os
import signal
import sys

import pytest
import torch
from support.runs import TinyBackbone, tiny_cfg, write_dataset

from tsn_tsm_plugin import engine
from tsn_tsm_plugin.engine.checkpoint import list_checkpoints, load_checkpoint
from tsn_tsm_plugin.engine.trainer import Trainer
from tsn_tsm_plugin.errors import DivergedError, LoaderError, VideoError
from tsn_tsm_plugin.runs.metrics_log import read_metrics


@pytest.fixture
def data(tmp_path):
    return write_dataset(tmp_path / "data", num_train=20, num_val=3)


@pytest.fixture
def no_gradient_is_finite(monkeypatch):
    forward = TinyBackbone.forward

    def with_bad_gradient(self, x):
        features = forward(self, x)
        if features.requires_grad:
            features.register_hook(lambda gradient: gradient * float("nan"))
        return features

    monkeypatch.setattr(TinyBackbone, "forward", with_bad_gradient)


def stop_after(steps: int):
    polls = itertools.count()
    return lambda: next(polls) >= steps


def newest(tmp_path) -> dict:
    return load_checkpoint(list_checkpoints(tmp_path / "run" / "checkpoints")[0])


@pytest.mark.usefixtures("no_gradient_is_finite")
def test_steps_that_are_not_finite_count_over_a_restart(tmp_path, data):
    cfg = tiny_cfg(tmp_path, data=data, TRAIN__MAX_NONFINITE_STEPS=3, SOLVER__MAX_EPOCH=1)
    with pytest.raises(engine.TrainingStopped):
        engine.train(cfg, stop_requested=stop_after(2))
    with pytest.raises(DivergedError, match="not finite for 4 steps in a row, up to step 4 "):
        engine.train(cfg)


@pytest.mark.usefixtures("no_gradient_is_finite")
def test_steps_that_are_not_finite_are_found_one_line_of_the_log_late_with_their_videos(tmp_path, data):
    cfg = tiny_cfg(tmp_path, data=data, LOG_PERIOD=4, TRAIN__MAX_NONFINITE_STEPS=1, TRAIN__CHECKPOINT_STEPS=3)
    steps = []

    class Counting(engine.Hook):
        def after_step(self, trainer, batch, result):
            steps.append(batch["video_name"])

    with pytest.raises(DivergedError, match=r"not finite for 2 steps in a row, up to step 2 ") as error:
        engine.train(cfg, hooks=[Counting()])

    assert len(steps) == 3  # The checkpoint after the third comes before the line after the fourth.
    assert all(name in str(error.value) for name in steps[1])
    assert list_checkpoints(tmp_path / "run" / "checkpoints") == []


def test_unreadable_videos_of_an_epoch_count_over_a_restart(tmp_path, data):
    for number in range(20):
        (data / f"train_{number}.mp4").write_bytes(b"no video")
    cfg = tiny_cfg(tmp_path, data=data, DATA__MAX_BAD_VIDEOS=10)
    with pytest.raises(engine.TrainingStopped):
        engine.train(cfg, stop_requested=stop_after(2))
    assert len(newest(tmp_path)["counters"]["bad_videos"]) == 8
    with pytest.raises(VideoError, match="11 unreadable videos in one epoch"):
        engine.train(cfg)


def test_a_run_killed_after_a_validation_has_one_record_of_it(tmp_path, data, monkeypatch):
    cfg = tiny_cfg(tmp_path, data=data, SOLVER__MAX_EPOCH=2)

    def killed(self, epoch, results):
        note(self, epoch, results)
        raise KeyboardInterrupt

    note = Trainer.note_validation
    for _ in range(2):
        monkeypatch.setattr(Trainer, "note_validation", killed)
        with pytest.raises(KeyboardInterrupt):
            engine.train(cfg)
        monkeypatch.undo()
    engine.train(cfg)

    records = [r["step"] for r in read_metrics(tmp_path / "run" / "metrics.jsonl") if "val/top1" in r]
    assert records == [5, 10]


@pytest.mark.skipif(sys.platform != "linux", reason="the workers are found by /proc")
def test_a_worker_that_is_killed_ends_the_run_with_its_checkpoint_and_names_memory(tmp_path, data):
    class Killing(engine.Hook):
        def after_step(self, trainer, batch, result):
            if trainer.step == 1:
                for worker in trainer.setup.loader.workers:
                    os.kill(worker.pid, signal.SIGKILL)

    options = {"DATA_LOADER__NUM_WORKERS": 1, "SOLVER__MAX_EPOCH": 1, "TRAIN__NUM_REPEATS": 4}
    with pytest.raises(
        LoaderError, match=r"killed \(SIGKILL\), most likely because memory.* goes on after step \d"
    ):
        engine.train(tiny_cfg(tmp_path, data=data, **options), hooks=[Killing()])

    step = newest(tmp_path)["step"]
    assert step >= 2
    engine.train(tiny_cfg(tmp_path, data=data, **options))
    assert newest(tmp_path)["step"] == 20
    assert f"Going on from {tmp_path / 'run' / 'checkpoints'}" in (tmp_path / "run" / "log.txt").read_text()


def test_a_loss_and_hooks_of_ones_own_are_used(tmp_path, data):
    said = []

    class Listening(engine.Hook):
        def after_epoch(self, trainer, epoch):
            said.append(f"epoch {epoch}")

        def after_validation(self, trainer, epoch, values):
            said.append(f"validated {epoch}")

    def loss(logits_BK, label_B):
        said.append(tuple(logits_BK.shape))
        return logits_BK.square().sum(dim=1)

    cfg = tiny_cfg(tmp_path, data=data, SOLVER__MAX_EPOCH=2, TRAIN__EVAL_PERIOD=1)
    engine.train(cfg, loss=loss, hooks=[Listening()])

    assert said == [*[(4, 3)] * 5, "epoch 0", "validated 0", *[(4, 3)] * 5, "epoch 1", "validated 1"]


def test_a_setup_built_once_trains_without_its_recipe(tmp_path, data):
    from tsn_tsm_plugin.runs.run_folder import RunFolder

    cfg = tiny_cfg(tmp_path, data=data, SOLVER__MAX_EPOCH=1)
    setup = engine.build_training(cfg)
    del cfg
    before = torch.cat([p.detach().flatten() for p in setup.state.model.parameters()])
    trainer = engine.Trainer(setup, folder=RunFolder(tmp_path / "by hand"))
    trainer.run()

    after = torch.cat([p.detach().flatten() for p in setup.state.model.parameters()])
    assert trainer.step == 5
    assert not torch.equal(before, after)
    assert [path.stem for path in list_checkpoints(tmp_path / "by hand" / "checkpoints")] == ["step_00000005"]


@pytest.mark.skipif(sys.platform != "linux", reason="the workers are found by /proc")
def test_a_worker_that_is_killed_in_a_validation_leaves_the_epoch_saved(tmp_path, data, monkeypatch):
    from tsn_tsm_plugin.data.signal_safe_loader import SignalSafeDataLoader

    start = SignalSafeDataLoader.__iter__

    def start_and_kill(self):
        batches = start(self)
        if len(self.dataset) == 3:  # the validation
            for worker in self.workers:
                os.kill(worker.pid, signal.SIGKILL)
        return batches

    monkeypatch.setattr(SignalSafeDataLoader, "__iter__", start_and_kill)
    options = {"DATA_LOADER__NUM_WORKERS": 1, "SOLVER__MAX_EPOCH": 2, "TRAIN__CHECKPOINT_PERIOD": 2}
    with pytest.raises(LoaderError, match="most likely because memory"):
        engine.train(tiny_cfg(tmp_path, data=data, **options))
    assert newest(tmp_path)["step"] == 5
