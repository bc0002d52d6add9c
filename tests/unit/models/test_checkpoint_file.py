import os
import pickle
import re

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from support.bucket import serve_bucket

from tsn_tsm_plugin.checkpoints.read_checkpoint import read_checkpoint
from tsn_tsm_plugin.errors import CheckpointError

TENSORS = {"fc.weight": torch.ones(2, 3), "fc.bias": torch.zeros(2)}


class RunsCode:
    def __reduce__(self):
        return os.system, ("touch code_has_run",)


@pytest.mark.parametrize("key", ["state_dict", "model_state", "model"])
def test_tensors_are_found_and_the_rest_is_metadata(tmp_path, key):
    torch.save({key: TENSORS, "epoch": 3}, tmp_path / "a.pth")

    checkpoint = read_checkpoint(tmp_path / "a.pth")

    assert sorted(checkpoint.state_dict) == sorted(TENSORS)
    assert checkpoint.metadata == {"epoch": 3}


@pytest.mark.parametrize("is_zip", [True, False])
def test_a_bare_state_dict_is_read_in_both_file_formats_of_torch(tmp_path, is_zip):
    torch.save(TENSORS, tmp_path / "a.pth.tar", _use_new_zipfile_serialization=is_zip)

    assert torch.equal(read_checkpoint(tmp_path / "a.pth.tar").state_dict["fc.weight"], TENSORS["fc.weight"])


def test_safetensors_are_read_with_their_metadata(tmp_path):
    save_file(TENSORS, tmp_path / "a.safetensors", metadata={"method": "tsm"})

    checkpoint = read_checkpoint(tmp_path / "a.safetensors")

    assert torch.equal(checkpoint.state_dict["fc.weight"], TENSORS["fc.weight"])
    assert checkpoint.metadata == {"method": "tsm"}


@pytest.mark.parametrize("is_zip", [True, False])
def test_a_pickle_that_tries_to_run_code_is_refused_and_runs_nothing(tmp_path, monkeypatch, is_zip):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": TENSORS, "meta": RunsCode()}, "a.pth", _use_new_zipfile_serialization=is_zip)

    with pytest.raises(CheckpointError, match=r"a\.pth tries to run 'posix.system': nothing was loaded"):
        read_checkpoint("a.pth")

    assert not (tmp_path / "code_has_run").exists()


def test_a_plain_pickle_is_refused_and_runs_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.pth").write_bytes(pickle.dumps({"state_dict": RunsCode()}, protocol=2))

    with pytest.raises(CheckpointError, match=r"a\.pth"):
        read_checkpoint("a.pth")

    assert not (tmp_path / "code_has_run").exists()


def test_a_global_is_named_with_all_that_the_file_needs_and_can_be_allowed(tmp_path):
    torch.save({"state_dict": TENSORS, "best": np.float64(0.5)}, tmp_path / "a.pth")

    with pytest.raises(CheckpointError, match=r"could run code.*numpy\.\w+\.multiarray.scalar, numpy.dtype"):
        read_checkpoint(tmp_path / "a.pth")
    names = [f"{np.float64(0).__reduce__()[0].__module__}.scalar", "numpy.dtype"]
    with pytest.raises(CheckpointError, match="could run code.*numpy.dtypes.Float64DType"):
        read_checkpoint(tmp_path / "a.pth", allow_globals=names)

    names.append("numpy.dtypes.Float64DType")
    assert read_checkpoint(tmp_path / "a.pth", allow_globals=names).metadata == {"best": 0.5}
    with pytest.raises(CheckpointError, match="asks for what could run code"):  # allowed for that call only
        read_checkpoint(tmp_path / "a.pth")


def test_allowing_something_that_does_not_exist_is_refused(tmp_path):
    torch.save(TENSORS, tmp_path / "a.pth")

    with pytest.raises(CheckpointError, match="must hold importable names, got 'numpy.no_such_thing'"):
        read_checkpoint(tmp_path / "a.pth", allow_globals=["numpy.no_such_thing"])


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_file_that_is_cut_off_is_refused(tmp_path, suffix, share):
    whole = tmp_path / f"whole.{suffix}"
    (save_file if suffix == "safetensors" else torch.save)({"w": torch.ones(100)}, whole)
    cut = tmp_path / f"cut.{suffix}"
    cut.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * share)])

    with pytest.raises(CheckpointError, match=re.escape(f"{cut} ")):
        read_checkpoint(cut)


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, {}, {"state_dict": {"a": 1}}])
def test_a_file_without_tensors_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "a.pth")

    with pytest.raises(CheckpointError, match=r"holds no state dict|must hold a dictionary of tensors"):
        read_checkpoint(tmp_path / "a.pth")


def test_a_text_file_is_refused(tmp_path):
    (tmp_path / "a.pth").write_text("hello there")

    with pytest.raises(CheckpointError, match=r"a\.pth"):
        read_checkpoint(tmp_path / "a.pth")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="nowhere.pth is not a file"):
        read_checkpoint(tmp_path / "nowhere.pth")


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_a_file_may_lie_wherever_iopath_can_fetch_it(tmp_path, monkeypatch, suffix):
    (save_file if suffix == "safetensors" else torch.save)(TENSORS, tmp_path / f"a.{suffix}")
    serve_bucket(tmp_path, monkeypatch)

    checkpoint = read_checkpoint(f"bucket://a.{suffix}")

    assert torch.equal(checkpoint.state_dict["fc.weight"], TENSORS["fc.weight"])
    assert checkpoint.path == f"bucket://a.{suffix}"


def test_a_fetched_pickle_runs_no_code_either(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": TENSORS, "meta": RunsCode()}, "a.pth")
    serve_bucket(tmp_path, monkeypatch)

    with pytest.raises(CheckpointError, match=r"tries to run 'posix.system': nothing was loaded"):
        read_checkpoint("bucket://a.pth")

    assert not (tmp_path / "code_has_run").exists()


def test_what_cannot_be_fetched_says_why(tmp_path, monkeypatch):
    serve_bucket(tmp_path, monkeypatch).error = ConnectionError("no route to host")

    with pytest.raises(
        CheckpointError,
        match=r"bucket://a\.pth cannot be fetched \(ConnectionError: no route to host\): check the address",
    ):
        read_checkpoint("bucket://a.pth")


def test_a_prefix_that_nobody_serves_is_named():
    with pytest.raises(CheckpointError, match=r"nowhere://a\.pth is not a file: .*iopath needs a handler"):
        read_checkpoint("nowhere://a.pth")
