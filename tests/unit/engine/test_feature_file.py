import numpy as np
import pytest
from support.small_files import files_no_larger_than

from tsn_tsm_plugin.errors import RunFolderError
from tsn_tsm_plugin.inference.sliding_windows import feature_file


@pytest.mark.parametrize("shape", [(3,), (4, 3)])
@pytest.mark.parametrize("num_rows", [1, 12])
def test_the_array_has_the_rows_that_were_appended(tmp_path, shape, num_rows):
    rows = np.random.default_rng(0).normal(size=(num_rows, *shape)).astype(np.float32)
    with feature_file(tmp_path / "a.npy") as append:
        for row in rows:
            append(row)
        assert not (tmp_path / "a.npy").exists()
    assert np.array_equal(np.load(tmp_path / "a.npy"), rows)
    assert [path.name for path in tmp_path.iterdir()] == ["a.npy"]


@pytest.mark.parametrize("num_rows", [0, 1])
def test_what_breaks_off_leaves_the_old_file_and_no_other(tmp_path, num_rows):
    out = tmp_path / "a.npy"
    out.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), feature_file(out) as append:
        for _ in range(num_rows):
            append(np.zeros(4))
        raise KeyboardInterrupt
    assert out.read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("num_rows", [1, 9], ids=["at the end", "on the way"])
def test_a_full_disk_leaves_the_old_file_and_is_reported(tmp_path, num_rows):
    out = tmp_path / "a.npy"
    out.write_bytes(b"old")
    with (
        pytest.raises(RunFolderError, match="a.npy could not be written: File too large.*another folder"),
        files_no_larger_than(2_000),
        feature_file(out) as append,
    ):
        for _ in range(num_rows):
            append(np.zeros(1_000))
    assert out.read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1
