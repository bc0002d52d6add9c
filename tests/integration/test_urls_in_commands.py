"""Commands take URLs where they read single files, and refuse URLs where they need paths of this machine."""

import importlib
import json
from pathlib import Path

import fsspec
import pytest
from support.runs import tiny_cfg, write_dataset, write_recipe
from support.trained import write_checkpoint
from support.videos import write_video

from launch.commands import parsers
from tsn_tsm_plugin import engine
from tsn_tsm_plugin.checkpoints.safetensors_file import weights_hash
from tsn_tsm_plugin.data.preparation.own_data import group_function
from tsn_tsm_plugin.engine.find_weights import find_weights
from tsn_tsm_plugin.inference.trained_model import load_trained

URL = "memory://bucket"


@pytest.fixture(scope="module")
def uploaded(tmp_path_factory):
    """Files of every kind in a storage of fsspec, ``memory://bucket``."""
    folder = tmp_path_factory.mktemp("uploaded")
    write_checkpoint(folder / "w.pt")
    write_video(folder / "v.mp4", 12)
    data = write_dataset(folder / "data", num_train=4, num_val=3)
    engine.train(tiny_cfg(folder, data=data, SOLVER__MAX_EPOCH=1, TEST__SAVE_RESULTS_PATH="dump.json"))
    Path(find_weights(folder / "run")).rename(folder / "tiny.pt")
    (folder / "run" / "dump.json").rename(folder / "dump.json")
    write_recipe(folder, data=data)
    text = (folder / "tiny.yaml").read_text().replace(str(data), f"{URL}/data")
    (folder / "tiny.yaml").write_text(f"{text}\nOUTPUT_DIR: run\n")
    hashed = weights_hash(load_trained(folder / "w.pt").model.state_dict())
    (folder / "results.json").write_text(json.dumps({"weights_hash": hashed, "top1": 50.0}))
    (folder / "slowfast.yaml").write_text("DATA: {NUM_FRAMES: 8}\n")
    (folder / "main.sh").write_text("python main.py something RGB --arch resnet50 --shift\n")
    (folder / "groups.txt").write_text("a.mp4 first\n")
    (folder / "pairs.txt").write_text(f"{URL}/tiny.yaml {URL}/tiny.pt\n")
    system = fsspec.filesystem("memory")
    system.put(str(folder), "/bucket", recursive=True)
    yield folder
    system.store.clear()


@pytest.fixture(autouse=True)
def here(uploaded, tmp_path, monkeypatch):
    """An empty working folder, and a cache of its own."""
    for name in ("FVCORE_CACHE", "IOPATH_CACHE"):
        monkeypatch.setenv(name, str(tmp_path / "cache"))
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def code_of(command: str, line: str) -> int:
    words = line.replace("URL", URL).split()
    try:
        if command == "submit":
            return parsers.run(words)
        return importlib.import_module(f"tsn_tsm_plugin.tools.{command}").main(words)
    except SystemExit as error:
        return int(error.code)


@pytest.mark.parametrize(
    ("command", "line"),
    [
        ("benchmark", "--weights URL/w.pt --variants float32 --batch-size 1 --seconds 0.01"),
        ("benchmark", "--loader URL/tiny.yaml --num-workers 0 --seconds 0.01"),
        ("convert_checkpoint", "URL/w.pt w.safetensors"),
        ("convert_config", "URL/slowfast.yaml --out recipe.yaml"),
        ("convert_config", "URL/main.sh"),
        ("ensemble", "URL/dump.json URL/dump.json --dump both.json"),
        ("evaluate", "--cfg URL/tiny.yaml --weights URL/tiny.pt --dump dump.json"),
        pytest.param("export", "--weights URL/w.pt --format torch_export", marks=pytest.mark.slow),
        ("predict", "--cfg URL/w.yaml --weights URL/w.pt --labels URL/data/labels.txt URL/v.mp4"),
        (
            "prepare_dataset",
            "flow --list URL/data/val.txt --videos URL/data --method dis --out f",
        ),
        ("prepare_dataset", "shards --list URL/data/val.txt --videos URL/data --out shards"),
        ("publish", "--weights URL/w.pt --results URL/results.json --out URL/published"),
        ("show_batch", "--cfg URL/tiny.yaml --num-clips 2"),
        ("stream", "--weights URL/w.pt --source URL/v.mp4 --window 0.2"),
        ("submit", "--cfg URL/tiny.yaml --dry-run --cluster local TRAIN.CHECKPOINT_FILE_PATH=URL/tiny.pt"),
        ("submit", "evaluate --cfg URL/tiny.yaml --weights URL/tiny.pt --dry-run --cluster local"),
        ("submit", "evaluate --cfg URL/tiny.yaml --weights zoo:tsm/k400_r50_8f --dry-run --cluster local"),
        ("submit", "evaluate --table URL/pairs.txt --dry-run --cluster local"),
        ("train", "--cfg URL/tiny.yaml --weights URL/tiny.pt SOLVER.MAX_EPOCH 1"),
    ],
)
def test_a_command_takes_files_by_url(command, line, here, capsys):
    assert code_of(command, line) == 0, capsys.readouterr().err
    assert not (here / "memory:").exists()


@pytest.mark.parametrize(
    ("command", "line"),
    [
        ("compare", "URL/run"),
        ("convert_checkpoint", "URL/w.pt URL/w.safetensors"),
        ("convert_config", "URL/tsm.py"),
        ("convert_config", "URL/slowfast.yaml --out URL/recipe.yaml"),
        ("convert_config", "tsm.py --mmaction2-configs URL/configs"),
        ("ensemble", "URL/dump.json --dump URL/both.json"),
        ("evaluate", "--cfg URL/tiny.yaml --dump URL/dump.json"),
        ("evaluate", "--cfg URL/tiny.yaml --out URL/run"),
        ("evaluate", "--cfg URL/tiny.yaml OUTPUT_DIR URL/run"),
        ("evaluate", "--cfg URL/tiny.yaml TEST.OUTPUT_DIR URL/run"),
        ("evaluate", "--cfg URL/tiny.yaml TEST.SAVE_RESULTS_PATH URL/dump.pkl"),
        ("export", "--weights URL/w.pt --format onnx --out URL/model.onnx"),
        *(
            ("predict", f"--weights URL/w.pt URL/v.mp4 --{flag} URL/{out}")
            for flag, out in (("annotate", "a.mp4"), ("grad-cam", "a.png"), ("features", "a.npy"))
        ),
        ("prepare_dataset", "motion --out URL/motion"),
        ("prepare_dataset", "folder --videos URL/videos --out data"),
        ("prepare_dataset", "folder --videos videos --out URL/data"),
        ("prepare_dataset", "sthv2 --annotations URL/a --videos videos --out data"),
        ("prepare_dataset", "sthv2 --annotations a --videos URL/videos --out data"),
        ("prepare_dataset", "shards --list URL/data/val.txt --videos URL/data --out URL/shards"),
        ("prepare_dataset", "flow --list URL/data/val.txt --videos URL/data --out URL/flow"),
        ("show_batch", "--cfg URL/tiny.yaml --out URL/sheet.png"),
        ("stream", "--weights URL/w.pt --source URL/v.mp4 --annotate URL/a.mp4"),
        ("submit", "--data URL/videos"),
        ("submit", "--cfg URL/tiny.yaml --cluster local OUTPUT_DIR=URL/run"),
        ("submit", "evaluate --cfg URL/tiny.yaml --weights URL/tiny.pt --out URL/runs"),
        ("submit", "summarize run --csv URL/table.csv"),
        ("submit", "summarize run --markdown URL/table.md"),
        ("submit", "list --runs URL/runs"),
        ("summarize", "URL/tiny.yaml"),
        ("summarize", "tiny.yaml --markdown URL/page.md"),
        ("train", "--data URL/videos"),
        ("train", "--cfg URL/tiny.yaml OUTPUT_DIR URL/run"),
    ],
)
def test_a_url_in_place_of_a_path_of_this_machine_is_refused_before_the_work(command, line, here, capsys):
    assert code_of(command, line) == 2
    error = capsys.readouterr().err
    assert "of this machine" in error and URL in error and "Traceback" not in error
    assert list(here.iterdir()) == []


def test_groups_of_own_videos_are_read_by_url(here):
    assert group_function(f"{URL}/groups.txt")(here / "a.mp4") == "first"
