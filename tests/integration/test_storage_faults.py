"""Disks and folders that refuse: weights and results first, one line for the rest, never a traceback."""

import contextlib
import json
import logging
import os
import resource
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import yaml
from support.runs import tiny_cfg, write_dataset

from tsn_tsm_plugin import engine
from tsn_tsm_plugin.errors import RunFolderError, TsnTsmError
from tsn_tsm_plugin.runs.run_folder import RunFolder

BADLY_NAMED = ["$100% off$", "\x1b[2J", "=cmd|<script>"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = write_dataset(tmp_path_factory.mktemp("data"), num_train=4, num_val=2)
    (folder / "hostile.txt").write_text("\n".join(BADLY_NAMED) + "\n")
    return folder


@pytest.fixture(autouse=True)
def _own_handlers():
    yield
    root = logging.getLogger("tsn_tsm_plugin")
    for handler in list(root.handlers):
        root.removeHandler(handler)
        handler.close()
    root.propagate, root.level = True, logging.NOTSET


def make_folder(path):
    path.mkdir(parents=True)
    (path / "file").touch()


def make_file(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def make_pipe(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(path)


def make_damaged(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b'\xff\xfe{"step"\n[]\n{"step": "a", "epoch": null}\n7\n' + b"[" * 10_000 + b"\n")


HARMLESS = {
    "curves": ("plots/curves.png", make_folder),
    "matrix": ("plots/confusion_matrix.png", make_folder),
    "calibration": ("plots/calibration.png", make_folder),
    "page": ("report.html", make_folder),
    "tensorboard": ("tensorboard", make_file),
    "log": ("log.txt", make_folder),
    "log_is_a_pipe": ("log.txt", make_pipe),
    "metrics": ("metrics.jsonl", make_damaged),
    "bad_videos": ("bad_videos.txt", make_damaged),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_what_is_no_result_never_fails_a_run(tmp_path, data, capsys, name):
    file, fault = HARMLESS[name]
    fault(tmp_path / "run" / file)
    cfg = tiny_cfg(tmp_path, data=data, SOLVER__MAX_EPOCH=1, TENSORBOARD__ENABLE=name == "tensorboard")

    results = engine.train(cfg)

    shown = capsys.readouterr().err
    assert json.loads((tmp_path / "run/results.json").read_text())["top1"] == results["top1"]
    assert (tmp_path / "run/weights.safetensors").stat().st_size > 1000
    assert "Traceback" not in shown
    if name != "bad_videos":
        assert len([line for line in shown.splitlines() if f"run/{file}" in line and " I " not in line]) == 1


FATAL = {
    "results": ("results.json", make_folder),
    "weights": ("weights.safetensors", make_folder),
    "metrics": ("metrics.jsonl", make_folder),
    "metrics_are_a_pipe": ("metrics.jsonl", make_pipe),
    "checkpoints": ("checkpoints", make_file),
    "plots": ("plots", make_file),
    "config": ("config.yaml", make_folder),
    "environment": ("environment.json", make_folder),
    "lock": (".lock", make_folder),
    "bad_videos": ("bad_videos.txt", make_pipe),
}


@pytest.mark.parametrize("name", FATAL)
def test_what_a_run_needs_is_named_in_one_error(tmp_path, data, name):
    file, fault = FATAL[name]
    fault(tmp_path / "run" / file)
    with pytest.raises(RunFolderError, match=file) as caught:
        engine.train(tiny_cfg(tmp_path, data=data, SOLVER__MAX_EPOCH=1))
    assert "\n" not in str(caught.value)


def test_hostile_class_names_train_to_the_end(tmp_path, data, capsys):
    cfg = tiny_cfg(tmp_path, data=data, SOLVER__MAX_EPOCH=1, DATA__LABEL_MAP="hostile.txt")

    engine.train(cfg)

    run = tmp_path / "run"
    assert (run / "plots/confusion_matrix.png").is_file()
    assert "<script>" not in (run / "report.html").read_text()
    assert "\x1b" not in (run / "log.txt").read_text() + (run / "report.html").read_text()
    assert "\x1b[2J" not in capsys.readouterr().err


def test_a_second_thread_does_not_pass_the_lock(tmp_path):
    faults = []

    def lock_again():
        try:
            with RunFolder(tmp_path).locked():
                pass
        except RunFolderError as error:
            faults.append(str(error))

    with RunFolder(tmp_path).locked():
        thread = threading.Thread(target=lock_again)
        thread.start()
        thread.join()
    with RunFolder(tmp_path).locked():
        pass
    assert len(faults) == 1 and "Another thread" in faults[0]


def test_numbers_that_are_not_finite_stay_valid_json(tmp_path):
    folder = RunFolder(tmp_path)
    folder.write_json(folder.results, {"loss": float("nan"), "classes": [{"f1": float("inf"), "n": 1}]})
    assert json.loads(folder.results.read_text(), parse_constant=pytest.fail) == {
        "loss": None,
        "classes": [{"f1": None, "n": 1}],
    }


@contextlib.contextmanager
def small_disk(folder, *, kib):
    """Mount a file system of few KiB; skip if this user may not."""
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(folder)]
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        pytest.skip("only root mounts file systems")
    if subprocess.run(["mount", *options], capture_output=True).returncode:
        pytest.skip("this container mounts no file systems")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextlib.contextmanager
def small_files(folder, *, kib):
    """Let no file of this process grow beyond few KiB; every user may."""
    folder.mkdir()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (kib * 1024, hard))
    try:
        yield folder
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


# A whole run of the tiny recipe takes some 300 KiB.
DISKS = [(small_disk, kib) for kib in (4, 8, 16, 24, 32, 48, 64, 96, 128, 160, 192, 224, 256, 288, 320, 384)]
LIMITS = [(small_files, kib) for kib in (1, 2, 4, 8, 16, 32, 48, 64)]


@pytest.mark.slow
@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize(
    ("small", "kib"), DISKS + LIMITS, ids=lambda value: getattr(value, "__name__", value)
)
def test_a_disk_that_fills_at_any_stage_is_one_line_and_leaves_whole_files(
    tmp_path, data, capsys, small, kib
):
    with small(tmp_path / "disk", kib=kib) as disk:
        cfg = tiny_cfg(tmp_path, data=data, out="disk/run", SOLVER__MAX_EPOCH=1, TENSORBOARD__ENABLE=True)
        try:
            engine.train(cfg)
        except TsnTsmError as error:
            assert str(disk) in str(error) and "\n" not in str(error)
        assert "Traceback" not in capsys.readouterr().err
        for path in Path(disk).rglob("*.json"):
            json.loads(path.read_text())
        for path in Path(disk).rglob("*.yaml"):
            assert isinstance(yaml.safe_load(path.read_text()), dict)
        assert not list(Path(disk).rglob("*.unfinished*"))
