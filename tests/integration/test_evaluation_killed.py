"""An evaluation that is killed goes on from its partial scores and ends with the numbers of a whole one."""

import functools
import json
import multiprocessing
import os
import pickle
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest
import torch
from support.ranks import join_from_env
from support.runs import tiny_cfg, write_dataset

from tsn_tsm_plugin import engine
from tsn_tsm_plugin.checkpoints.read_checkpoint import read_checkpoint
from tsn_tsm_plugin.engine.interruption import EvaluationStopped
from tsn_tsm_plugin.engine.score_split import Predictor

NUM_VIDEOS = 24
OF_THIS_START = ("seconds", "clips_per_second", "config_hash")


@pytest.fixture(scope="module", autouse=True)
def _without_pictures():
    with pytest.MonkeyPatch.context() as patch:
        for name in ("plot_confusion_matrix", "plot_calibration", "write_report"):
            patch.setattr(sys.modules[engine.evaluate.__module__], name, lambda *args: None)
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return a folder with data, and weights of a short training."""
    folder = tmp_path_factory.mktemp("trained")
    data = write_dataset(folder / "data", num_train=4, num_val=NUM_VIDEOS)
    engine.train(tiny_cfg(folder, data=data, SOLVER__MAX_EPOCH=1, DATA__VAL_LIST=""))
    return folder


def cfg_in(folder, trained, **more):
    """Return a recipe that evaluates into ``folder/results`` and writes a file for each batch."""
    options = {
        "TEST__CHECKPOINT_FILE_PATH": trained / "run" / "weights.safetensors",
        "TEST__OUTPUT_DIR": folder / "results",
        "TEST__SAVE_RESULTS_PATH": "scores.pkl",
        "TEST__CHECKPOINT_MINUTES": 1e-6,
        "TEST__BATCH_SIZE": 2,
    }
    return tiny_cfg(folder, **{"data": trained / "data", **options, **more})


@pytest.fixture(scope="module")
def whole(trained):
    """Return the numbers of an evaluation that nobody interrupts, on one process."""
    return numbers_of(evaluated(1, cfg_in(trained, trained)))


@pytest.fixture
def copied(tmp_path, trained):
    """Return a copy of the data, to damage."""
    return Path(shutil.copytree(trained / "data", tmp_path / "data"))


@pytest.fixture
def scored(monkeypatch):
    """Return a list that grows by an entry for each batch that this process scores."""
    found, view_logits = [], Predictor.view_logits
    monkeypatch.setattr(
        Predictor, "view_logits", lambda self, video: found.append(len(video)) or view_logits(self, video)
    )
    return found


def files_of(cfg):
    return sorted(Path(cfg.TEST.OUTPUT_DIR).glob("partial_scores_*/rank_*/batch_*.pt"))


def evaluate_slowly(cfg):
    view_logits = Predictor.view_logits

    def slowly(self, video):
        time.sleep(0.05)
        return view_logits(self, video)

    Predictor.view_logits = slowly
    engine.evaluate(cfg)


def evaluate_in_processes(world_size, cfg, work=engine.evaluate):
    """Start processes of one group that evaluate."""
    os.setsid()
    torch.set_num_threads(1)  # the threads of the parent were not forked
    join_from_env(world_size, functools.partial(work, cfg)) if world_size > 1 else work(cfg)


def start(*args):
    process = multiprocessing.get_context("fork").Process(target=evaluate_in_processes, args=args)
    process.start()
    return process


def evaluated(world_size, cfg):
    """Evaluate in processes of their own, and return the recipe."""
    start(world_size, cfg).join()
    return cfg


def kill_after(num_files, cfg, world_size):
    process = start(world_size, cfg, evaluate_slowly)
    while len(files_of(cfg)) < num_files:
        assert process.is_alive()
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.join()
    assert not (Path(cfg.TEST.OUTPUT_DIR) / "results.json").exists()


def numbers_of(cfg):
    folder = Path(cfg.TEST.OUTPUT_DIR)
    results = json.loads((folder / "results.json").read_text())
    scores = pickle.loads((folder / "scores.pkl").read_bytes())
    return {key: value for key, value in results.items() if key not in OF_THIS_START}, scores


def test_two_processes_killed_twice_end_with_the_numbers_of_a_whole_evaluation(tmp_path, trained):
    cfg = cfg_in(tmp_path, trained)
    kill_after(3, cfg, world_size=2)
    kill_after(6, cfg, world_size=2)
    whole = evaluated(2, cfg_in(tmp_path, trained, TEST__OUTPUT_DIR=tmp_path / "whole"))

    assert numbers_of(evaluated(2, cfg)) == numbers_of(whole)
    assert files_of(cfg) == []
    log = (tmp_path / "results" / "log.txt").read_text()
    assert log.count("videos that are scored already") == 2


def test_a_video_that_is_scored_is_not_read_again(tmp_path, trained, whole, copied, scored):
    cfg = cfg_in(tmp_path, trained, data=copied)
    kill_after(4, cfg, world_size=1)
    num_videos = 2 * len(files_of(cfg))
    for index in range(num_videos):
        (copied / f"val_{index}.mp4").write_bytes(b"no video any more")
    engine.evaluate(cfg)

    assert numbers_of(cfg) == whole
    assert sum(scored) == NUM_VIDEOS - num_videos


def test_unreadable_videos_of_the_first_start_are_counted(tmp_path, trained, copied):
    (copied / "val_1.mp4").write_bytes(b"no video")
    cfg = cfg_in(tmp_path, trained, data=copied, DATA__MAX_BAD_VIDEOS=1)
    kill_after(3, cfg, world_size=1)
    results = engine.evaluate(cfg)

    assert (results["num_bad_videos"], results["num_videos"]) == (1, NUM_VIDEOS - 1)
    assert "val_1.mp4" in (tmp_path / "results" / "bad_videos.txt").read_text()


def test_scores_of_other_weights_settings_or_lists_are_not_taken(tmp_path, trained, copied, scored):
    kill_after(3, cfg_in(tmp_path, trained, data=copied), world_size=1)
    weights = tmp_path / "other.pt"
    state = read_checkpoint(trained / "run" / "weights.safetensors").state_dict
    torch.save({name: 2 * tensor for name, tensor in state.items()}, weights)
    engine.evaluate(cfg_in(tmp_path, trained, data=copied, TEST__CHECKPOINT_FILE_PATH=weights))
    assert sum(scored) == NUM_VIDEOS
    engine.evaluate(cfg_in(tmp_path, trained, data=copied, TEST__NUM_ENSEMBLE_VIEWS=2))
    assert sum(scored) == 2 * NUM_VIDEOS
    lines = (copied / "val.txt").read_text().splitlines(keepends=True)
    (copied / "val.txt").write_text("".join(lines[::-1]))
    engine.evaluate(cfg_in(tmp_path, trained, data=copied))
    assert sum(scored) == 3 * NUM_VIDEOS


def test_a_damaged_file_costs_the_videos_from_there_on(tmp_path, trained, whole, scored):
    cfg = cfg_in(tmp_path, trained)
    kill_after(4, cfg, world_size=1)
    files_of(cfg)[1].write_bytes(b"half a file")
    engine.evaluate(cfg)

    assert numbers_of(cfg) == whole
    assert sum(scored) == NUM_VIDEOS - 2


def test_the_final_test_of_a_training_goes_on_too(tmp_path, trained, scored):
    options = {"SOLVER__MAX_EPOCH": 1, "TRAIN__EVAL_PERIOD": 0, "TEST__BATCH_SIZE": 2}
    cfg = tiny_cfg(tmp_path, data=trained / "data", **options)
    with pytest.raises(engine.TrainingStopped) as stopped:
        engine.train(cfg, stop_requested=lambda: len(scored) == 5)
    assert isinstance(stopped.value.__cause__, EvaluationStopped)
    results = engine.train(cfg)

    assert sum(scored) == results["num_videos"] == NUM_VIDEOS
