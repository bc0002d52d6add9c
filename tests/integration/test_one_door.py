"""Every path goes through one door: ``~`` is the home folder, and what is no readable file is named."""

import argparse
import json
import os
import re
import signal
from types import ModuleType

import pytest
import torch
from support.runs import tiny_cfg, write_recipe

from launch.cluster.options import read_cluster_yaml
from launch.commands.evaluate import pairs_of
from tsn_tsm_plugin import load_cfg
from tsn_tsm_plugin.checkpoints.read_checkpoint import read_checkpoint
from tsn_tsm_plugin.data.annotations import read_label_map, read_video_list
from tsn_tsm_plugin.data.motion.dataset import prepare_motion
from tsn_tsm_plugin.data.preparation.annotations import read_lines
from tsn_tsm_plugin.data.preparation.own_data import group_function, prepare_own_data
from tsn_tsm_plugin.data.preparation.prepare import write_if_changed
from tsn_tsm_plugin.data.preparation.verify_videos import Journal
from tsn_tsm_plugin.data.reader import VideoReader
from tsn_tsm_plugin.data.shards import read_index, read_shard_list
from tsn_tsm_plugin.errors import RunFolderError, TsnTsmError
from tsn_tsm_plugin.evaluation.dump import read_dump
from tsn_tsm_plugin.inference.export.model_card import read_matching_results
from tsn_tsm_plugin.inference.export.sidecar_json import sidecar_json_path
from tsn_tsm_plugin.migrate.mmaction2.config_bases import read_source
from tsn_tsm_plugin.runs.compare_runs import compare_runs
from tsn_tsm_plugin.runs.metrics_log import read_metrics
from tsn_tsm_plugin.tools import compare, convert_checkpoint, evaluate, export, predict, summarize
from tsn_tsm_plugin.tools.command import ToolParser, run_command
from tsn_tsm_plugin.tools.summarize import write_markdown


def table_of_evaluations(path):
    return pairs_of(argparse.Namespace(table=str(path)))


READERS = {
    "label map": ("names.txt", read_label_map),
    "list": ("list.txt", read_video_list),
    "JSON list": ("list.json", read_video_list),
    "annotations": ("something.json", read_lines),
    "groups": ("groups.txt", lambda path: group_function(str(path))),
    "shard list": ("shards.txt", lambda path: read_shard_list(str(path))),
    "shard": ("a.tar", lambda path: read_index(str(path))),
    "index of a shard": ("a.tar.index", lambda path: read_index(str(path).removesuffix(".index"))),
    "video": ("a.mp4", lambda path: VideoReader(path).num_frames),
    "checkpoint": ("a.pt", read_checkpoint),
    "safetensors": ("a.safetensors", read_checkpoint),
    "recipe": ("a.yaml", load_cfg),
    "MMAction2 config": ("a.py", lambda path: read_source(path, [])),
    "pickled dump": ("a.pkl", read_dump),
    "JSON dump": ("a.json", read_dump),
    "metrics": ("metrics.jsonl", read_metrics),
    "config of a run": ("config.yaml", lambda path: compare_runs([path.parent])),
    "results of a card": ("results.json", lambda path: read_matching_results(None, path, is_named=True)),
    "findings": ("checked.jsonl", Journal),
    "page with a table": ("a.md", lambda path: write_markdown(path, [])),
    "cluster options": ("a.yaml", lambda path: read_cluster_yaml(str(path))),
    "table of evaluations": ("pairs.txt", table_of_evaluations),
}


def make_pipe(path):
    os.mkfifo(path)


def make_device(path):
    path.symlink_to("/dev/zero")


def make_dangling(path):
    path.symlink_to("nowhere")


def make_bytes(path):
    path.write_bytes(b"\xff\xfe\x00\x81" * 9)


BAD_FILES = {
    "pipe": make_pipe,
    "device": make_device,
    "folder": os.mkdir,
    "link": make_dangling,
    "bytes": make_bytes,
}
# Files of a run may be missing, and lines that are damaged are skipped.
IS_EMPTY = {("metrics", "link"), ("metrics", "bytes"), ("findings", "link"), ("findings", "bytes")}


@pytest.fixture(autouse=True)
def _a_hang_is_a_failure():
    before = signal.signal(signal.SIGALRM, lambda *_: pytest.fail("hangs"))
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("kind", BAD_FILES)
@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_readable_file_is_refused_at_once_and_named(tmp_path, reader, kind):
    name, read = READERS[reader]
    BAD_FILES[kind](tmp_path / name)
    if (reader, kind) in IS_EMPTY:
        read(tmp_path / name)
        return
    with pytest.raises(TsnTsmError) as error:
        read(tmp_path / name)
    # An index that is missing leaves the shard to be scanned.
    assert str(tmp_path / name.removesuffix(".index").removesuffix("config.yaml")) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("base", ["pipe", "/dev/zero"])
def test_a_base_that_is_no_file_is_named(tmp_path, base):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "a.yaml").write_text(f"_BASE_: {base}\n")
    with pytest.raises(
        TsnTsmError, match=f"{base}: cannot be read, named as _BASE_ in .*is not a regular file"
    ):
        load_cfg(tmp_path / "a.yaml")


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_note_beside_own_data_that_cannot_be_read_is_of_another_folder(tmp_path, kind):
    data = tmp_path / "data"
    data.mkdir()
    write_recipe(data, data=data)
    (tmp_path / "datasets" / "data").mkdir(parents=True)
    note = tmp_path / "datasets" / "data" / "source.json"
    BAD_FILES[kind](note)

    recipe = prepare_own_data(data, datasets_dir=tmp_path / "datasets")

    assert re.fullmatch("data_[0-9a-f]{6}", recipe.parent.name)
    assert json.loads((recipe.parent / "source.json").read_text()) == str(data)


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "bytes"])
def test_a_file_that_is_no_description_is_kept_beside_an_export(tmp_path, kind):
    BAD_FILES[kind](tmp_path / "model.json")
    assert sidecar_json_path(tmp_path / "model.onnx") == tmp_path / "model.onnx.json"


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_stamp_of_the_motion_dataset_that_cannot_be_read_is_no_stamp(tmp_path, kind):
    out = tmp_path / "motion"
    out.mkdir()
    BAD_FILES[kind](out / "motion.json")
    with pytest.raises(ValueError, match="out_dir must be new, empty, or hold this motion dataset"):
        prepare_motion(out, num_train=1, num_val=1)


def test_a_pipe_in_place_of_a_lock_waits_for_nobody(tmp_path):
    os.mkfifo(tmp_path / ".motion.lock")
    with pytest.raises(RunFolderError, match="motion could not be written"):
        prepare_motion(tmp_path / "motion", num_train=1, num_val=1)


@pytest.mark.parametrize("kind", ["pipe", "link", "bytes"])
def test_a_prepared_file_replaces_what_is_no_text(tmp_path, kind):
    BAD_FILES[kind](tmp_path / "train.txt")
    write_if_changed(tmp_path / "train.txt", "a.mp4 0\n")
    assert (tmp_path / "train.txt").read_text() == "a.mp4 0\n"


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


TOO_LONG = "n" * 300


@pytest.mark.parametrize(
    ("tool", "words"),
    [
        (compare, [TOO_LONG]),
        (convert_checkpoint, [TOO_LONG, "a.pt"]),
        (evaluate, ["--cfg", "tsm/k400_r50_8f", "--weights", TOO_LONG]),
        (export, ["--weights", TOO_LONG, "--format", "onnx"]),
        (predict, ["--weights", "zoo:tsm/k400_r50_8f", TOO_LONG]),
        (summarize, [TOO_LONG]),
    ],
    ids=lambda value: value.__name__.rpartition(".")[2] if isinstance(value, ModuleType) else "",
)
def test_a_path_that_the_system_refuses_is_one_line_in_every_tool(capsys, tool, words):
    assert tool.main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert TOO_LONG in line


def test_bytes_in_a_path_are_printed_as_escapes(capsys):
    assert run_command(lambda: print("run\udcff")) == 0
    assert capsys.readouterr().out == "run\\udcff\n"
