"""Networks that take B, G, R: configs of MMAction2, and one meaning of the key in every tool."""

import json

import pytest
import torch
from support.trained import write_checkpoint
from support.videos import write_video

from tsn_tsm_plugin import load_cfg
from tsn_tsm_plugin.errors import ConfigError
from tsn_tsm_plugin.evaluation import read_dump
from tsn_tsm_plugin.inference.export.export_model import describe
from tsn_tsm_plugin.inference.trained_model import load_trained
from tsn_tsm_plugin.models.deploy.export import plan_clip_export
from tsn_tsm_plugin.tools import convert_config, evaluate, predict, stream
from tsn_tsm_plugin.transforms.build import build_normalize

BGR_0X = """
model = dict(type='Recognizer2D', backbone=dict(type='ResNet', depth=50),
    cls_head=dict(type='TSNHead', num_classes=101))
img_norm_cfg = dict(mean=[104, 117, 128], std=[1, 2, 4], to_bgr=True)
train_pipeline = [dict(type='SampleFrames', clip_len=1, frame_interval=1, num_clips=3),
    dict(type='Normalize', **img_norm_cfg)]
test_pipeline = [dict(type='SampleFrames', clip_len=1, frame_interval=1, num_clips=25, test_mode=True),
    dict(type='Normalize', **img_norm_cfg)]
"""
BGR_1X = """
model = dict(type='Recognizer2D', backbone=dict(type='ResNet', depth=50),
    cls_head=dict(type='TSNHead', num_classes=101),
    data_preprocessor=dict(type='ActionDataPreprocessor', mean=[104, 117, 128], std=[1, 2, 4], to_rgb=True))
"""
RGB_IN_TESTING = BGR_0X.replace(
    "test_mode=True),\n    dict(type='Normalize', **img_norm_cfg)",
    "test_mode=True),\n    dict(type='Normalize', mean=[104, 117, 128], std=[1, 2, 4], to_bgr=False)",
)


def converted(folder, text):
    (folder / "config.py").write_text(text)
    out = folder / "recipe.yaml"
    assert convert_config.main([str(folder / "config.py"), "--out", str(out)]) == 0
    return load_cfg(out)


@pytest.mark.parametrize("text", [BGR_0X, BGR_1X], ids=["0.x", "1.x"])
def test_a_config_of_bgr_networks_becomes_a_recipe_of_the_same_pixels(tmp_path, capsys, text):
    normalize = build_normalize(converted(tmp_path, text))
    assert not {"to_bgr", "to_rgb"} & set(capsys.readouterr().err.replace(".", " ").split())
    video = torch.randint(256, (2, 3, 4, 5, 6), dtype=torch.uint8)
    mean, std = (torch.tensor(values).view(3, 1, 1, 1) for values in ([104.0, 117.0, 128.0], [1.0, 2.0, 4.0]))
    # Their order: swap the channels, subtract, divide.
    assert torch.equal(normalize(video), (video[:, [2, 1, 0]].float() - mean) / std)


def test_another_order_in_testing_than_in_training_is_reported(tmp_path, capsys):
    cfg = converted(tmp_path, RGB_IN_TESTING)
    assert cfg.DATA.CHANNEL_ORDER == "bgr"
    assert "test step Normalize.to_bgr = False" in capsys.readouterr().err


def test_slowfasts_reversed_channels_become_bgr(tmp_path):
    (tmp_path / "SLOW.yaml").write_text(
        "DATA: {REVERSE_INPUT_CHANNEL: True}\nMODEL: {NUM_CLASSES: 3, ARCH: slow}\n"
    )
    out = tmp_path / "recipe.yaml"
    assert convert_config.main([str(tmp_path / "SLOW.yaml"), "--out", str(out)]) == 0
    assert load_cfg(out).DATA.CHANNEL_ORDER == "bgr"


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """Two files of one network, of which the second takes B, G, R, and a list of one video."""
    folder = tmp_path_factory.mktemp("bgr")
    pixels = ("DATA.MEAN", "[90.0, 120.0, 150.0]", "DATA.STD", "[30.0, 60.0, 90.0]")
    rgb = write_checkpoint(folder / "rgb.pt", *pixels, causal=True)
    bgr = write_checkpoint(folder / "bgr.pt", *pixels, "DATA.CHANNEL_ORDER", "bgr", causal=True)
    content = torch.load(bgr, weights_only=True)
    content["model_state"]["backbone.conv1.weight"] = content["model_state"]["backbone.conv1.weight"].flip(1)
    torch.save(content, bgr)
    write_video(folder / "v.mp4", 5, fps=10)
    (folder / "list.txt").write_text("v.mp4 1\n")
    return rgb, bgr


def predicted(file, capsys):
    assert predict.main(["--weights", str(file), str(file.with_name("v.mp4")), "--format", "json"]) == 0
    return [each["probability"] for each in json.loads(capsys.readouterr().out)[0]["top"]]


def streamed(file, capsys):
    source = str(file.with_name("v.mp4"))
    assert stream.main(["--weights", str(file), "--source", source, "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()[:-1]]
    return [each["probability"] for row in rows for each in row["top"]]


def evaluated(file, capsys):
    recipe, dump = file.with_suffix(".dumped.yaml"), file.with_suffix(".pkl")
    recipe.write_text(torch.load(file, weights_only=True)["config"])
    lists = ["DATA.VAL_LIST", "list.txt", "DATA.TEST_LIST", "list.txt"]
    folders = ["DATA.PATH_TO_DATA_DIR", str(file.parent), "OUTPUT_DIR", str(file.with_suffix(""))]
    options = ["--weights", str(file), "--dump", str(dump), *lists, *folders, "DATA_LOADER.NUM_WORKERS", "0"]
    assert evaluate.main(["--cfg", str(recipe), *options]) == 0
    return read_dump(dump)[0].scores.flatten().tolist()


@pytest.mark.parametrize("scores_of", [predicted, streamed, evaluated])
def test_a_tool_gives_a_bgr_network_the_frames_of_its_order(networks, capsys, scores_of):
    rgb, bgr = (scores_of(file, capsys) for file in networks)
    assert rgb == pytest.approx(bgr, abs=1e-4)


@pytest.mark.parametrize("modality", ["rgb", "rgb_diff"])
def test_every_frame_of_a_stack_is_reversed(tmp_path, modality):
    (tmp_path / "recipe.yaml").write_text(f"DATA: {{MODALITY: {modality}, STD: [1.0, 2.0, 4.0]}}")
    rgb, bgr = (
        build_normalize(load_cfg(tmp_path / "recipe.yaml", ["DATA.CHANNEL_ORDER", order]))
        for order in ("rgb", "bgr")
    )
    stack = torch.randint(256, (1, 3 if modality == "rgb" else 18, 2, 4, 4), dtype=torch.uint8)
    assert torch.equal(bgr(stack).unflatten(1, (-1, 3)), rgb(stack).unflatten(1, (-1, 3)).flip(2))


def test_an_exported_network_takes_rgb_only_if_it_normalises_itself(networks):
    trained = load_trained(networks[1], device=torch.device("cpu"))
    plan = plan_clip_export(trained.model, num_frames=4, size=32)
    described = {
        inside: describe(trained, plan, form="torch_export", streaming=False, normalize=inside)
        for inside in (False, True)
    }
    assert described[False]["layout"] == "(batch, BGR, frame, height, width)"
    assert described[True]["layout"] == "(batch, RGB, frame, height, width)"
    pixels = described[False]["pixels"]
    assert (pixels["colour"], pixels["mean"]) == ("RGB, 0-255", [90.0, 120.0, 150.0])
    assert pixels["channel_order"] == "BGR, after the normalization"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("DATA: {CHANNEL_ORDER: bgr, MODALITY: flow, FORMAT: frames}", "flow, which has no colours"),
        (
            "MODEL: {ARCH: tsn, BACKBONE: bn_inception}\nDATA: {CHANNEL_ORDER: bgr}",
            "takes RGB and reverses it",
        ),
        ("DATA: {CHANNEL_ORDER: gbr}", "must be one of 'rgb', 'bgr', got 'gbr'"),
    ],
)
def test_an_order_that_the_network_cannot_have_is_refused(tmp_path, text, reason):
    (tmp_path / "recipe.yaml").write_text(text)
    with pytest.raises(ConfigError, match=f"DATA.CHANNEL_ORDER .*{reason}"):
        load_cfg(tmp_path / "recipe.yaml")
