"""A file is whole or absent: simulated failures while it is written."""

import errno
import os

import pytest

from tsn_tsm_plugin.atomic_files import write_atomically
from tsn_tsm_plugin.errors import RunFolderError


def test_the_file_appears_only_when_it_is_whole(tmp_path):
    path = tmp_path / "file"
    with write_atomically(path) as file:
        file.write("half")
        file.flush()
        assert not path.exists()
        file.write(" and half")

    assert path.read_text() == "half and half"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_an_error_while_writing_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), write_atomically(path) as file:
        file.write("new")
        raise ZeroDivisionError

    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_is_reported_with_the_path_and_the_free_space(tmp_path, monkeypatch, call):
    def fail(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "file"
    path.write_text("old")
    monkeypatch.setattr(*(("os.fsync", fail) if call == "fsync" else ("pathlib.Path.replace", fail)))
    with (
        pytest.raises(
            RunFolderError, match=r"file could not be written: No space left on device, with .* GiB free"
        ),
        write_atomically(path) as file,
    ):
        file.write("new")

    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_the_bytes_reach_the_disk_before_the_name_does(tmp_path, monkeypatch):
    calls = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr("os.fsync", lambda fd: (calls.append("fsync"), fsync(fd)))
    monkeypatch.setattr(
        "pathlib.Path.replace", lambda self, target: (calls.append("rename"), replace(self, target))
    )
    with write_atomically(tmp_path / "file") as file:
        file.write("x")

    assert calls == ["fsync", "rename", "fsync"]


def test_a_missing_folder_is_a_clear_error(tmp_path):
    with (
        pytest.raises(RunFolderError, match="set OUTPUT_DIR|Set OUTPUT_DIR"),
        write_atomically(tmp_path / "a" / "b"),
    ):
        pass
