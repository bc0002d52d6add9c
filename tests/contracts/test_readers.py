"""Every file from outside is read through ``paths``, which refuses pipes, devices and broken text."""

import ast
from pathlib import Path

from support.sources import modules_where

# Modules that may read a file by its name themselves, each with the reason.
READ_THEMSELVES = {
    "launch/rank/on_failure.py": "files of the job itself",
    "launch/rank/outcome.py": "files of the job itself",
    "launch/rank/rendezvous.py": "a file of the job itself",
    "launch/rank/restart_guard.py": "a file of the job itself",
    "launch/track/log_follower.py": "logs of SLURM, which grow",
    "launch/track/status.py": "/proc",
    "tsn_tsm_plugin/atomic_files.py": "fsync of the file just written",
    "tsn_tsm_plugin/data/decoders/container.py": "PyAV, after VideoReader has checked the file",
    "tsn_tsm_plugin/data/frame_stream.py": "cameras and streams are devices",
    "tsn_tsm_plugin/engine/checkpoint.py": "a copy of the checkpoint just written",
    "tsn_tsm_plugin/inference/benchmark.py": "/proc",
    "tsn_tsm_plugin/models/memory_estimate.py": "/proc and /sys",
    "tsn_tsm_plugin/paths.py": "the mechanism",
    "tsn_tsm_plugin/storage.py": "iopath handlers of remote storage, and staged files",
}
# The methods `open` of these open memory, or no file.
NO_FILES = {"archive", "Image", "os", "self", "tarfile", "video"}


def reads_by_name(path: Path) -> bool:
    """Return whether a module opens a file for reading outside its docstrings."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call):
            continue
        owner = ast.unparse(node.func.value) if isinstance(node.func, ast.Attribute) else ""
        name = node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)
        if name in ("read_text", "read_bytes") and owner not in ("", "reader"):
            return True
        words = [arg.value for arg in node.args if isinstance(arg, ast.Constant)]
        is_writing = any(str(word)[:1] in ("w", "a", "x") for word in words)
        if name == "open" and owner not in NO_FILES and not is_writing:
            return True
    return False


def test_no_other_module_reads_a_file_by_its_name():
    found = modules_where(reads_by_name)
    assert sorted(found - set(READ_THEMSELVES)) == []
    assert sorted(set(READ_THEMSELVES) - found) == []
