"""Every path goes through one door: ``~`` is the home folder, pipes and devices are named and refused."""

import os

import pytest
import torch
from support.runs import tiny_cfg, write_recipe

from tsn_tsm_plugin import load_cfg
from tsn_tsm_plugin.checkpoints.read_checkpoint import read_checkpoint
from tsn_tsm_plugin.data.annotations import read_label_map, read_video_list
from tsn_tsm_plugin.errors import TsnTsmError
from tsn_tsm_plugin.evaluation.dump import read_dump
from tsn_tsm_plugin.tools.command import ToolParser

READERS = {
    "label map": read_label_map,
    "list": read_video_list,
    "checkpoint": read_checkpoint,
    "safetensors": lambda path: read_checkpoint(f"{path}.safetensors"),
    "recipe": load_cfg,
    "dump": read_dump,
}


@pytest.mark.parametrize("reader", READERS)
def test_a_pipe_is_refused_at_once_and_named(tmp_path, reader):
    for suffix in ("", ".safetensors"):
        os.mkfifo(tmp_path / f"pipe{suffix}")
    with pytest.raises(TsnTsmError, match="pipe"):
        READERS[reader](tmp_path / "pipe")


@pytest.mark.parametrize("reader", [name for name in READERS if name != "safetensors"])
def test_an_endless_device_is_refused_at_once_and_named(reader):
    with pytest.raises(TsnTsmError, match="/dev/zero"):
        READERS[reader]("/dev/zero")


@pytest.mark.parametrize("base", ["pipe", "/dev/zero"])
def test_a_base_that_is_no_file_is_named(tmp_path, base):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "a.yaml").write_text(f"_BASE_: {base}\n")
    with pytest.raises(TsnTsmError, match=f"{base}: must be a regular file"):
        load_cfg(tmp_path / "a.yaml")


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_the_home_folder_is_expanded_in_recipes_checkpoints_and_label_maps(home):
    write_recipe(home, data=home)
    (home / "names.txt").write_text("a\nb\n")
    torch.save({"w": torch.ones(1)}, home / "w.pt")

    assert load_cfg("~/tiny.yaml", ["OUTPUT_DIR", "~/x"]).OUTPUT_DIR == str(home / "x")
    assert tiny_cfg(home, data=home, TEST__OUTPUT_DIR="~/t").TEST.OUTPUT_DIR == str(home / "t")
    assert read_label_map("~/names.txt") == ["a", "b"]
    assert list(read_checkpoint("~/w.pt").state_dict) == ["w"]


def test_the_home_folder_is_expanded_in_the_flags_of_every_tool(home):
    parser = ToolParser("any", None)
    parser.add_argument("--out")
    parser.add_argument("--set", nargs=2, action="append")
    parser.add_argument("paths", nargs="*")

    args = parser.parse_args(["--out=~/x", "--set", "OUTPUT_DIR", "~/y", "~/z", "~x", "a~/b"])

    assert args.out == f"{home}/x" and args.set == [["OUTPUT_DIR", f"{home}/y"]]
    assert args.paths == [f"{home}/z", "~x", "a~/b"]
