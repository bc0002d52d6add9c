"""Exported files against the trained network, in ONNX Runtime and torch.export."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support.exported import run_exported
from support.small_files import files_no_larger_than
from support.trained import CLASS_NAMES, write_checkpoint
from support.videos import write_video

from tsn_tsm_plugin.inference.trained_model import load_trained
from tsn_tsm_plugin.models import StreamingTSM, create_tsm, create_tsn
from tsn_tsm_plugin.models.deploy.export import export as export_plan
from tsn_tsm_plugin.models.deploy.export import plan_clip_export
from tsn_tsm_plugin.tools import export


def pixels(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    return {
        kind: write_checkpoint(folder / f"{kind}.pt", "DATA.CHANNEL_ORDER", "bgr", causal=kind == "online")
        for kind in ("offline", "online")
    }


@pytest.fixture(params=["torch_export", pytest.param("onnx", marks=pytest.mark.extras)])
def form(request):
    if request.param == "onnx":
        pytest.importorskip("onnxscript")
        pytest.importorskip("onnxruntime")
    return request.param


def exported(weights, folder, form, *options: str):
    out = folder / {"torch_export": "m.pt2", "onnx": "m.onnx"}[form]
    assert export.main(["--weights", str(weights), "--format", form, "--out", str(out), *options]) == 0
    return out, json.loads(out.with_suffix(".json").read_text())


def test_a_clip_scores_alike_in_the_file_and_in_the_network(weights, tmp_path, form):
    out, described = exported(weights["offline"], tmp_path, form, "--normalize")
    trained = load_trained(weights["offline"], device=torch.device("cpu"))
    for seed, batch in ((0, 1), (1, 2), (2, 5)):
        video = pixels(batch, 3, 4, 32, 32, seed=seed)
        (scores,) = run_exported(out, {"video": video})
        with torch.no_grad():
            expected = trained.model(trained.preprocessing.normalize(video))
        torch.testing.assert_close(scores, expected, atol=1e-3, rtol=1e-3)
    assert (described["classes"], described["weights"]) == (CLASS_NAMES, "offline.pt")
    assert described["inputs"] == {"video": {"shape": ["batch", 3, 4, 32, 32], "dtype": "uint8"}}
    assert described["pixels"]["normalized_inside"] and described["pixels"]["mean"] == [
        123.675,
        116.28,
        103.53,
    ]
    assert described["sampling"].items() >= {"kind": "uniform", "frames": 4, "views_in_time": 1}.items()


@pytest.mark.extras
@pytest.mark.parametrize("views", ["1", "2"])
@pytest.mark.parametrize("options", [(), ("--normalize",)], ids=["floats", "uint8"])
def test_a_script_without_this_library_gets_the_score_of_predict(tmp_path, views, options):
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    pytest.importorskip("cv2")
    weights = write_checkpoint(tmp_path / "w.pt", "TEST.NUM_ENSEMBLE_VIEWS", views)
    video = write_video(tmp_path / "v.mp4", 21, fps=10)
    out, _ = exported(weights, tmp_path, "onnx", *options)
    script = Path(__file__).parents[1] / "support" / "score_onnx.py"

    command = [sys.executable, str(script), str(video), str(out), str(out.with_suffix(".json"))]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout

    expected = load_trained(weights).predict(video).probabilities
    scores = torch.tensor([float(word) for word in printed.split()])
    torch.testing.assert_close(scores, expected, atol=1e-3, rtol=0)
    imported = re.findall(r"^import (\w+)", script.read_text(), re.MULTILINE)
    assert set(imported) <= {"json", "sys", "av", "cv2", "numpy", "onnxruntime"}


@pytest.mark.extras
def test_an_onnx_file_names_its_batch_axis_and_carries_its_description(weights, tmp_path):
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    out, described = exported(weights["offline"], tmp_path, "onnx")

    session = onnxruntime.InferenceSession(str(out))

    assert [value.shape[0] for value in (*session.get_inputs(), *session.get_outputs())] == ["batch"] * 2
    carried = json.loads(session.get_modelmeta().custom_metadata_map["tsn_tsm_plugin.json"])
    assert {"file": out.name, **carried} == described


def test_a_torch_file_carries_its_description(weights, tmp_path):
    out, described = exported(weights["offline"], tmp_path, "torch_export")
    carried = {"tsn_tsm_plugin.json": ""}

    torch.export.load(out, extra_files=carried)

    assert {"file": out.name, **json.loads(carried["tsn_tsm_plugin.json"])} == described


@pytest.mark.extras
@pytest.mark.parametrize(
    ("create", "backbone", "options", "size"),
    [
        (create_tsn, "densenet161", {}, 64),
        (create_tsn, "swin_base_patch4_window7_224", {}, 224),
        (create_tsn, "resnext101_32x4d", {}, 64),
        (create_tsm, "mobilenet_v2", {}, 64),
        (create_tsm, "mobileone_s4", {}, 64),
        (create_tsm, "resnet101", {"causal": True}, 64),
        (create_tsm, "resnet50", {"non_local": "gaussian"}, 64),
        (create_tsm, "resnet50", {"non_local": "dot_product"}, 64),
    ],
)
def test_every_family_of_the_zoo_scores_alike_in_onnx(create, backbone, options, size, tmp_path):
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    model = create(backbone=backbone, num_classes=5, num_segments=2, fc_init_std=1.0, **options).eval()
    out = tmp_path / "model.onnx"
    export_plan(plan_clip_export(model, num_frames=2, size=size), out, form="onnx")
    for seed, batch in ((0, 1), (1, 3)):
        video = torch.randn(batch, 3, 2, size, size, generator=torch.Generator().manual_seed(seed))
        (scores,) = run_exported(out, {"video": video})
        with torch.no_grad():
            expected = model(video)
        # Scores of random networks have any size.
        torch.testing.assert_close(scores, expected, atol=1e-3 * float(expected.std()), rtol=0)


def test_a_stream_goes_alike_in_the_file_and_in_the_network(weights, tmp_path, form):
    out, described = exported(weights["online"], tmp_path, form, "--streaming", "--normalize")
    trained = load_trained(weights["online"], device=torch.device("cpu"))
    stream = StreamingTSM(trained.model)
    names = [name for name in described["inputs"] if name != "frame"]
    state = {name: torch.zeros(2, *described["inputs"][name]["shape"][1:]) for name in names}
    for seed in range(3):
        frame = pixels(2, 3, 32, 32, seed=seed)
        scores, *following = run_exported(out, {"frame": frame, **state})
        state = dict(zip(names, following, strict=True))
        expected = stream(trained.preprocessing.normalize(frame[:, :, None])[:, :, 0])
        torch.testing.assert_close(scores, expected, atol=1e-3, rtol=1e-3)
    assert described["streaming"] and described["outputs"][1:] == [
        n.replace("state.", "next.") for n in names
    ]


@pytest.mark.extras
def test_int8_scores_nearly_as_the_network(weights, tmp_path):
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    videos = tmp_path / "videos"
    videos.mkdir()
    for index in range(4):
        write_video(videos / f"{index}.mp4", 12 + index)
    out, _ = exported(weights["offline"], tmp_path, "onnx", "--int8", "--calibrate", str(videos))
    trained = load_trained(weights["offline"], device=torch.device("cpu"))
    from tsn_tsm_plugin.inference.export.quantize_onnx import calibration_clips

    small = out.with_suffix(".int8.onnx")
    assert small.stat().st_size < 0.35 * out.stat().st_size
    for clip in calibration_clips(trained, sorted(map(str, videos.iterdir())), normalize=False):
        video = torch.from_numpy(clip)
        (scores,), (exact,) = run_exported(small, {"video": video}), run_exported(out, {"video": video})
        assert (scores - exact).abs().max() < 0.2 * exact.abs().max()


def test_a_stream_of_a_network_that_looks_ahead_is_refused(weights, tmp_path, capsys):
    options = ["--format", "torch_export", "--streaming", "--out", str(tmp_path / "m.pt2")]
    assert export.main(["--weights", str(weights["offline"]), *options]) == 2
    assert "A stream needs a causal TSM" in capsys.readouterr().err


def test_int8_without_clips_to_measure_on_is_refused(weights, capsys):
    assert export.main(["--weights", str(weights["offline"]), "--format", "onnx", "--int8"]) == 2
    assert "--int8 needs --format onnx, no --streaming, and --calibrate" in capsys.readouterr().err


def test_ranges_measured_for_nothing_are_refused(weights, capsys):
    command = ["--weights", str(weights["offline"]), "--format", "onnx", "--calibrate", "videos"]
    assert export.main(command) == 2
    assert "--calibrate measures the ranges for --int8: give both, or neither" in capsys.readouterr().err


def test_ranges_are_measured_on_one_video_or_more(weights, capsys):
    with pytest.raises(SystemExit, match="2"):
        export.main(["--weights", "w.pt", "--format", "onnx", "--int8", "--num-calibration-videos", "0"])
    assert "--num-calibration-videos: must be a whole number of at least 1, got 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("form", "name", "cure"),
    [
        ("onnx", "model.json", "model.onnx"),
        ("onnx", "foo.pt2", "foo.onnx"),
        ("torch_export", "foo.onnx", "foo.pt2"),
        ("torch_export", "foo", "foo.pt2"),
    ],
)
def test_the_suffix_must_fit_the_format(tmp_path, capsys, form, name, cure):
    command = ["--weights", "zoo:tsm/k400_r50_8f", "--format", form, "--out", str(tmp_path / name)]
    assert export.main(command) == 2
    said = capsys.readouterr().err
    assert f"{tmp_path / name}. Give {tmp_path / cure}, or another format." in said
    assert not list(tmp_path.iterdir())


def test_two_networks_in_one_folder_are_described_each(weights, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.onnx").touch()
    (tmp_path / "model.json").write_text('{"file": "model.onnx"}')
    assert export.main(["--weights", str(weights["offline"]), "--format", "torch_export"]) == 0
    assert capsys.readouterr().out == "model.pt2: video -> scores; model.pt2.json\n"
    owners = {path.name: json.loads(path.read_text())["file"] for path in tmp_path.glob("*.json")}
    assert owners == {"model.json": "model.onnx", "model.pt2.json": "model.pt2"}


def test_a_full_disk_leaves_the_old_network_and_its_description(weights, tmp_path, capsys, form):
    out = tmp_path / {"torch_export": "m.pt2", "onnx": "m.onnx"}[form]
    out.write_bytes(b"old")
    (tmp_path / "m.json").write_text(json.dumps({"file": out.name}))
    old = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with files_no_larger_than(100_000):
        assert export.main(["--weights", str(weights["offline"]), "--format", form, "--out", str(out)]) == 2
    assert f"error: {out} could not be written: File too large" in capsys.readouterr().err.splitlines()[-1]
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == old
