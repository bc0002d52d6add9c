"""A lock on file systems that have none, and on those that do."""

import errno
import fcntl

import pytest

from tsn_tsm_plugin.errors import RunFolderError
from tsn_tsm_plugin.runs.run_folder import RunFolder


def refuse(monkeypatch, number):
    def lockf(file, how):
        raise OSError(number, "refused")

    monkeypatch.setattr(fcntl, "lockf", lockf)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_stops_no_run_and_is_named(tmp_path, monkeypatch, caplog, number):
    refuse(monkeypatch, number)

    with RunFolder(tmp_path / "run").locked():
        pass

    assert "is not locked, because its file system has no locks" in caplog.text


@pytest.mark.parametrize("number", [errno.EACCES, errno.EAGAIN])
def test_a_lock_that_another_process_holds_is_refused(tmp_path, monkeypatch, number):
    refuse(monkeypatch, number)

    with pytest.raises(RunFolderError, match="Another run trains into"), RunFolder(tmp_path / "run").locked():
        pass
