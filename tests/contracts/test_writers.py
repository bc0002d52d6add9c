"""Every writer leaves the old file whole or the new one, whatever interrupts it."""

import ast
import resource
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from support.sources import modules_where

from tsn_tsm_plugin.atomic_files import write_text_atomically
from tsn_tsm_plugin.data.preparation.prepare import write_if_changed
from tsn_tsm_plugin.engine.checkpoint import export_weights, save_checkpoint
from tsn_tsm_plugin.errors import RunFolderError
from tsn_tsm_plugin.evaluation import Predictions, write_dump
from tsn_tsm_plugin.inference.sliding_windows import feature_file
from tsn_tsm_plugin.runs.plots import plot_confusion_matrix
from tsn_tsm_plugin.runs.run_folder import RunFolder
from tsn_tsm_plugin.tools.summarize import write_markdown

OLD = b"old\n<!-- zoo table: begin -->\n<!-- zoo table: end -->\n"
LONG = "x" * 100_000
FEW_BYTES = 4096


def dump(path):
    predictions = Predictions(
        torch.arange(200), ["a" * 100] * 200, torch.zeros(200, dtype=torch.long), torch.rand(200, 2),
        torch.rand(200, 1, 2),
    )  # fmt: skip
    write_dump(predictions, path, class_names=["still", "slow"], view_average="logits")


def features(path):
    with feature_file(path) as append:
        for _ in range(100):
            append(np.ones(1000, np.float32))


def markdown(path):
    write_markdown(path, [(LONG,) * 8])


WRITERS = {
    "text": ("a.txt", lambda path: write_text_atomically(path, LONG)),
    "run folder": ("a.json", lambda path: RunFolder(path.parent).write_json(path, {"long": LONG})),
    "checkpoint": ("a.pt", lambda path: save_checkpoint({"model": torch.rand(100, 100)}, path)),
    "weights": (
        "a.safetensors",
        lambda path: export_weights(
            {"w": torch.rand(100, 100)}, path, config="", class_names=[], attributes={}
        ),
    ),
    "pickled dump": ("a.pkl", dump),
    "JSON dump": ("a.json", dump),
    "CSV dump": ("a.csv", dump),
    "features": ("a.npy", features),
    "plot": ("a.png", lambda path: plot_confusion_matrix(torch.eye(3), ["a", "b", "c"], path)),
    "prepared list": ("a.txt", lambda path: write_if_changed(path, LONG)),
    "zoo table": ("a.md", markdown),
}


@pytest.fixture(params=WRITERS, ids=lambda name: name.replace(" ", "_"))
def writer(request, tmp_path):
    """Return an old file in a folder of its own, and what writes it anew."""
    name, write = WRITERS[request.param]
    path = tmp_path / name
    path.write_bytes(OLD)
    return path, write


def files_of(folder):
    return [path for path in folder.iterdir() if path.is_file()]


@contextmanager
def full_disk():
    """Let no file of this process grow beyond a few bytes, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (FEW_BYTES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_keeps_the_old_file(writer):
    path, write = writer
    with full_disk(), pytest.raises(RunFolderError, match="could not be written"):
        write(path)

    assert path.read_bytes() == OLD
    assert files_of(path.parent) == [path]


def test_an_interruption_keeps_the_old_file(writer, monkeypatch):
    path, write = writer

    def interrupt(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write(path)

    assert path.read_bytes() == OLD
    assert files_of(path.parent) == [path]


def test_a_folder_that_takes_no_file_is_named(writer, monkeypatch):
    path, write = writer
    touch = Path.touch

    def refuse(self, *args, **options):
        if self.parent == path.parent:
            raise PermissionError(13, "Permission denied")
        touch(self, *args, **options)

    monkeypatch.setattr("pathlib.Path.touch", refuse)
    with pytest.raises(RunFolderError, match=f"{path.name} could not be written: Permission denied"):
        write(path)

    assert path.read_bytes() == OLD


def test_success_replaces_the_old_file(writer):
    path, write = writer
    write(path)

    assert path.read_bytes() != OLD
    assert files_of(path.parent) == [path]


# Modules that may write a file by its name themselves, each with the reason.
WRITE_THEMSELVES = {
    "launch/submit_job/checks.py": "a script in a temporary folder",
    "tsn_tsm_plugin/atomic_files.py": "the mechanism",
    "tsn_tsm_plugin/data/motion/dataset.py": "a folder of another name until it is whole",
    "tsn_tsm_plugin/data/preparation/verify_videos.py": "appends a line",
    "tsn_tsm_plugin/data/preparation/convert.py": "the temporary name of replace_folder_when_whole",
    "tsn_tsm_plugin/data/preparation/flow.py": "the temporary name of replace_folder_when_whole",
    "tsn_tsm_plugin/data/stage_shards.py": "the lock",
    "tsn_tsm_plugin/engine/bad_videos.py": "appends a line",
    "tsn_tsm_plugin/engine/checkpoint.py": "a hard link, renamed",
    "tsn_tsm_plugin/evaluation/dump.py": "the temporary name of replace_when_whole",
    "tsn_tsm_plugin/inference/export/model_card.py": "iopath's writer, for paths that are no local files",
    "tsn_tsm_plugin/runs/loggers.py": "appends TensorBoard events",
    "tsn_tsm_plugin/runs/metrics_log.py": "appends a line",
    "tsn_tsm_plugin/runs/run_folder.py": "the lock",
    "tsn_tsm_plugin/storage.py": "iopath handlers of remote storage",
    "tsn_tsm_plugin/visualization/video_writer.py": "PyAV, under the temporary name of UnfinishedFile",
}


def writes_by_name(path: Path) -> bool:
    """Return whether a module opens a file for writing, or renames one, outside its docstrings."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute | ast.Name):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
        words = [arg.value for arg in node.args if isinstance(arg, ast.Constant)]
        if name == "write_bytes" or ast.unparse(node.func) in ("partial.rename", "temporary.replace"):
            return True
        if name == "write_text" and ast.unparse(node.func) != "folder.write_text":
            return True
        if name == "open" and any(str(word) in ("w", "a", "x", "wb", "ab", "a+", "xb") for word in words):
            return True
    return False


def test_no_other_module_writes_a_file_by_its_name():
    found = modules_where(writes_by_name)
    assert sorted(found - set(WRITE_THEMSELVES)) == []
    assert sorted(set(WRITE_THEMSELVES) - found) == []
