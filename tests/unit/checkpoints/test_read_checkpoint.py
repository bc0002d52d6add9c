import os
import re

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from support.bucket import serve_bucket

from tsn_tsm_plugin.checkpoints.read_checkpoint import read_checkpoint
from tsn_tsm_plugin.checkpoints.stub import Stub
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


def test_numpy_numbers_beside_the_weights_are_numbers(tmp_path):
    torch.save({"state_dict": TENSORS, "best": np.float64(0.5), "at": np.arange(3)}, tmp_path / "a.pth")

    metadata = read_checkpoint(tmp_path / "a.pth").metadata

    assert metadata["best"] == 0.5
    assert metadata["at"].tolist() == [0, 1, 2]


def test_any_flipped_bit_of_an_archive_is_damage(tmp_path):
    torch.save(TENSORS, tmp_path / "a.pth")
    content = bytearray((tmp_path / "a.pth").read_bytes())
    offset = content.index(torch.ones(6).numpy().tobytes())
    content[offset + 2] ^= 1
    (tmp_path / "a.pth").write_bytes(content)

    with pytest.raises(CheckpointError, match=r"damaged .*Bad CRC-32 for file 'a/data/\d'"):
        read_checkpoint(tmp_path / "a.pth")


def test_an_archive_without_checksums_is_read(tmp_path):
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(TENSORS, tmp_path / "a.pth")
    finally:
        torch.serialization.set_crc32_options(True)

    assert torch.equal(read_checkpoint(tmp_path / "a.pth").state_dict["fc.weight"], TENSORS["fc.weight"])


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
def test_a_file_may_have_any_address_of_iopath(tmp_path, monkeypatch, suffix):
    (save_file if suffix == "safetensors" else torch.save)(TENSORS, tmp_path / f"a.{suffix}")
    serve_bucket(tmp_path, monkeypatch)

    checkpoint = read_checkpoint(f"bucket://a.{suffix}")

    assert torch.equal(checkpoint.state_dict["fc.weight"], TENSORS["fc.weight"])
    assert checkpoint.path == f"bucket://a.{suffix}"


def test_a_fetched_pickle_runs_no_code_either(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": TENSORS, "meta": RunsCode()}, "a.pth")
    serve_bucket(tmp_path, monkeypatch)

    checkpoint = read_checkpoint("bucket://a.pth")

    assert isinstance(checkpoint.metadata["meta"], Stub)
    assert not (tmp_path / "code_has_run").exists()


def test_what_cannot_be_fetched_is_reported_with_the_reason(tmp_path, monkeypatch):
    serve_bucket(tmp_path, monkeypatch).error = ConnectionError("no route to host")

    with pytest.raises(
        CheckpointError,
        match=r"bucket://a\.pth cannot be fetched \(ConnectionError: no route to host\): check the address",
    ):
        read_checkpoint("bucket://a.pth")


def test_a_prefix_that_nobody_serves_is_named():
    with pytest.raises(CheckpointError, match=r"nowhere://a\.pth is not a file: .*iopath needs a handler"):
        read_checkpoint("nowhere://a.pth")
