"""The main tasks work with every promised version of Python and of the dependencies."""

import importlib
import json
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support.exported import run_exported
from support.jobs import job_environment
from support.runs import write_dataset, write_recipe
from support.videos import sequential_frames, write_video

import tsn_tsm_plugin
from tsn_tsm_plugin import VideoReader, create_tsm, optimize_for_inference
from tsn_tsm_plugin.tools import evaluate, export, predict, train

pytestmark = pytest.mark.smoke

NUM_CLASSES = 3


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data"), num_train=4, num_val=2)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory, data) -> Path:
    return write_recipe(tmp_path_factory.mktemp("recipe"), data=data)


@pytest.fixture(scope="module")
def run(recipe) -> Path:
    """A run folder after one training step, with batches from a worker."""
    folder = recipe.parent / "run"
    opts = ["SOLVER.MAX_EPOCH", "1", "DATA_LOADER.NUM_WORKERS", "1", "TENSORBOARD.ENABLE", "True"]
    assert train.main(["--cfg", str(recipe), "OUTPUT_DIR", str(folder), *opts]) == 0
    return folder


def test_every_module_can_be_imported():
    names = [module.name for module in pkgutil.walk_packages(tsn_tsm_plugin.__path__, "tsn_tsm_plugin.")]
    assert len(names) > 100
    for name in names:
        importlib.import_module(name)


@pytest.mark.parametrize(
    "decoder, module", [("pyav", "av"), ("torchcodec", "torchcodec.decoders"), ("decord", "decord")]
)
def test_a_decoder_reads_the_frames_of_a_video(tmp_path, decoder, module):
    importlib.import_module(module)
    path = write_video(tmp_path / "video.mp4", 30)
    with VideoReader(path, decoder) as reader:
        assert (reader.num_frames, reader.fps, reader.duration) == (30, 25.0, 1.2)
        assert torch.equal(reader.read([3, 29, 17]), sequential_frames(path)[[3, 29, 17]])


@pytest.mark.parametrize("backbone", ["resnet18", "mobilenet_v2", "mobileone_s4"])
def test_a_network_scores_a_clip_and_is_made_faster(backbone):
    # float64: a network without training amplifies the rounding of float32.
    model = create_tsm(backbone=backbone, num_classes=NUM_CLASSES, num_segments=2).double().eval()
    video = torch.randn(1, 3, 2, 64, 64).double()
    with torch.no_grad():
        scores = model(video)
        optimized = optimize_for_inference(model)(video)
    assert scores.shape == (1, NUM_CLASSES)
    assert (optimized - scores).abs().max() < 1e-6 * scores.std()


def test_one_step_trains_and_evaluates(run):
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in metrics if "train/loss" in line] == [1]
    assert json.loads((run / "results.json").read_text())["num_videos"] == 2
    assert list((run / "tensorboard").iterdir())


def test_trained_weights_are_evaluated(run, recipe, tmp_path):
    weights = run / "weights.safetensors"
    assert evaluate.main(["--cfg", str(recipe), "--weights", str(weights), "--out", str(tmp_path)]) == 0
    assert json.loads((tmp_path / "results.json").read_text())["num_videos"] == 2


def test_trained_weights_name_the_class_of_a_video(run, data, capsys):
    assert predict.main(["--weights", str(run / "weights.safetensors"), str(data / "val_0.mp4")]) == 0
    assert "still" in capsys.readouterr().out


@pytest.mark.parametrize("form, suffix", [("torch_export", ".pt2"), ("onnx", ".onnx")])
def test_trained_weights_are_exported(run, tmp_path, form, suffix):
    out = tmp_path / f"network{suffix}"
    argv = ["--weights", str(run / "weights.safetensors"), "--format", form, "--out", str(out), "--normalize"]
    assert export.main(argv) == 0
    (scores,) = run_exported(out, {"video": torch.zeros(2, 3, 2, 32, 32, dtype=torch.uint8)})
    assert scores.shape == (2, NUM_CLASSES)


def test_the_launcher_shows_what_it_would_run(repository, recipe, tmp_path):
    submit = [sys.executable, str(repository / "launch" / "submit.py")]
    ended = subprocess.run(
        [*submit, "--cfg", str(recipe), "--dry-run", f"OUTPUT_DIR={tmp_path / 'run'}"],
        capture_output=True,
        text=True,
        timeout=120,
        env={"PATH": "/usr/bin:/bin", **job_environment(tmp_path)},
    )
    assert ended.returncode == 0, ended.stderr
    assert str(recipe) in ended.stdout + ended.stderr
