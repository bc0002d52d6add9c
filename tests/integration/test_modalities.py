"""Optical flow and RGB differences: from folders of images to a trained and tested network."""

import numpy as np
import pytest
import torch
from PIL import Image
from support.videos import numbered_frames, write_video

from tsn_tsm_plugin import create_tsn, load_cfg, load_weights
from tsn_tsm_plugin.checkpoints.read_checkpoint import split_checkpoint
from tsn_tsm_plugin.data.build import build_dataset
from tsn_tsm_plugin.engine import evaluate, train
from tsn_tsm_plugin.errors import ConfigError, VideoError
from tsn_tsm_plugin.inference.grad_cam import explain_video
from tsn_tsm_plugin.inference.preprocessing import Preprocessing
from tsn_tsm_plugin.inference.trained_model import load_trained
from tsn_tsm_plugin.models.backbones.input_channels import set_input_channels
from tsn_tsm_plugin.models.build import build_model
from tsn_tsm_plugin.models.identify_checkpoint import create_identified, identify
from tsn_tsm_plugin.transforms.build import build_normalize
from tsn_tsm_plugin.transforms.modality import NormalizeDifferences

RECIPE = """
MODEL: {ARCH: tsn, BACKBONE: resnet18, NUM_CLASSES: 2, PARTIAL_BN: True}
DATA:
  MODALITY: MODALITY_HERE
  PATH_TO_DATA_DIR: DIR_HERE
  NUM_FRAMES: 2
  TRAIN_SHORT_SIDE: 0
  TEST_SHORT_SIDE: 0
  TRAIN_CROP_SIZE: 32
  TEST_CROP_SIZE: 32
DATA_LOADER: {NUM_WORKERS: 0}
TRAIN: {BATCH_SIZE: 2, EVAL_PERIOD: 1}
TEST: {BATCH_SIZE: 2}
SOLVER: {BASE_LR: 0.001, MAX_EPOCH: 1, STEPS: [0], LRS: [1.0], PARAM_GROUPS: tsn}
TENSORBOARD: {ENABLE: False}
"""
NUM_FIELDS = 9


def field(axis: str, number: int) -> np.ndarray:
    """Return a flow image whose every pixel encodes its axis and its number."""
    return np.full((36, 44), 100 + number + (50 if axis == "y" else 0), np.uint8)


def write_flow(folder, template: str = "flow_{}_{:05}.png") -> None:
    for axis in ("x", "y"):
        for number in range(1, NUM_FIELDS + 1):
            path = folder / template.format(axis, number)
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(field(axis, number)).save(path)


def flow_cfg(folder, *opts: str, template: str = "flow_{}_{:05}.png"):
    for name in ("a", "b"):
        write_flow(folder / name, template)
    for split in ("train", "val"):
        (folder / f"{split}.txt").write_text(f"a {NUM_FIELDS} 0\nb {NUM_FIELDS} 1\n")
    recipe = folder / "recipe.yaml"
    recipe.write_text(RECIPE.replace("MODALITY_HERE", "flow").replace("DIR_HERE", str(folder)))
    options = ["DATA.FORMAT", "frames", "DATA.FRAME_TEMPLATE", template, "OUTPUT_DIR", str(folder / "run")]
    return load_cfg(recipe, [*options, *opts])


def rgb_diff_cfg(folder, *opts: str):
    for name in ("a", "b"):
        write_video(folder / f"{name}.mp4", numbered_frames(12, height=36, width=44))
    for split in ("train", "val"):
        (folder / f"{split}.txt").write_text("a.mp4 0\nb.mp4 1\n")
    recipe = folder / "recipe.yaml"
    recipe.write_text(RECIPE.replace("MODALITY_HERE", "rgb_diff").replace("DIR_HERE", str(folder)))
    return load_cfg(recipe, ["OUTPUT_DIR", str(folder / "run"), *opts])


def test_a_segment_of_flow_is_five_fields_x_before_y(tmp_path):
    clip = build_dataset(flow_cfg(tmp_path), "val")[0]["video"]
    # 9 fields have 5 stacks of 5; the middles of 2 segments start at 1 and 3, from 0.
    first = [value for number in range(2, 7) for value in (100 + number, 150 + number)]
    assert clip.shape == (10, 2, 32, 32)
    assert clip[:, 0, 0, 0].tolist() == first
    assert clip[:, 1, 0, 0].tolist() == [value + 2 for value in first]


@pytest.mark.parametrize("template", ["{}/{:05}.png", "flow_x_{:05}.png", "x/{:06}.png"])
def test_every_layout_of_flow_is_read(tmp_path, template):
    written = template if "{}" in template else template.replace("x", "{}", 1)
    cfg = flow_cfg(tmp_path, "DATA.FRAME_TEMPLATE", template, template=written)
    clip = build_dataset(cfg, "val")[1]["video"]
    assert clip[:2, 0, 0, 0].tolist() == [102, 152]


def test_a_mirror_inverts_the_horizontal_flow_only(tmp_path):
    cfg = flow_cfg(tmp_path, "TEST.NUM_SPATIAL_CROPS", "10")
    clip = build_dataset(cfg, "test")[0]["video"]
    assert clip[:2, 0, 0, 0].tolist() == [102, 152]
    assert clip[:2, 2, 0, 0].tolist() == [255 - 102, 152]  # The first crop's mirror image.
    seen = set()
    for epoch in range(20):
        from tsn_tsm_plugin.data.samplers import SampleKey

        video = build_dataset(cfg, "train")[SampleKey(epoch, 0)]["video"]
        seen.add((bool(video[0, 0, 0, 0] > 127), int(video[1, 0, 0, 0]) > 150))
    assert seen == {(False, True), (True, True)}


def test_a_folder_with_fewer_fields_than_a_stack_repeats_the_last(tmp_path):
    cfg = flow_cfg(tmp_path)
    (tmp_path / "val.txt").write_text("a 3 0\n")
    clip = build_dataset(cfg, "val")[0]["video"]
    assert clip[0::2, 0, 0, 0].tolist() == [101, 102, 103, 103, 103]


def test_flow_is_centred_on_128(tmp_path):
    normalize = build_normalize(flow_cfg(tmp_path))
    video = torch.full((1, 10, 1, 2, 2), 192, dtype=torch.uint8)
    assert torch.equal(normalize(video), torch.full((1, 10, 1, 2, 2), 0.5))


def test_differences_of_neighbouring_frames_are_what_the_network_sees(tmp_path):
    cfg = rgb_diff_cfg(tmp_path, "DATA.STD", "[2.0, 2.0, 2.0]")
    clip = build_dataset(cfg, "val")[0]["video"]
    assert clip.shape == (18, 2, 32, 32)
    frames = clip.float().unflatten(0, (6, 3))
    expected = ((frames[1:] - frames[:-1]) / 2.0).flatten(0, 1)
    normalize = build_normalize(cfg)
    assert isinstance(normalize, NormalizeDifferences)
    assert torch.equal(normalize(clip[None])[0], expected)
    assert build_model(cfg)(normalize(clip[None])).shape == (1, 2)


@pytest.mark.parametrize("make", [flow_cfg, pytest.param(rgb_diff_cfg, marks=pytest.mark.slow)])
def test_a_network_is_trained_and_tested(tmp_path, make):
    cfg = make(tmp_path)
    train(cfg)
    metrics = evaluate(cfg)
    assert metrics is not None
    trained = load_trained(tmp_path / "run")
    source = tmp_path / ("a" if cfg.DATA.MODALITY == "flow" else "a.mp4")
    assert trained.predict(source).probabilities is not None
    with pytest.raises(ConfigError, match="Grad-CAM needs a network of RGB frames"):
        explain_video(trained, str(source))


def test_the_first_kernel_is_the_mean_over_rgb_of_the_trained_one(tmp_path):
    source = create_tsn(backbone="resnet18", num_classes=2).backbone
    weights = tmp_path / "resnet18.pth"
    torch.save(source.state_dict(), weights)
    model = create_tsn(backbone="resnet18", num_classes=2, weights=str(weights), in_channels=10)
    kernel = model.backbone.conv1.weight
    assert kernel.shape == (64, 10, 7, 7)
    mean = source.conv1.weight.mean(dim=1)
    assert all(torch.equal(kernel[:, channel], mean) for channel in range(10))


def test_a_network_without_a_kernel_of_rgb_is_refused():
    with pytest.raises(ValueError, match="must start with a convolution of 3 channels to take 10"):
        set_input_channels(torch.nn.Linear(3, 3), 10, is_trained=True)


def test_a_flow_checkpoint_of_mmaction2_loads_and_scores_as_ours():
    model = create_tsn(backbone="resnet18", num_classes=5, num_segments=3, in_channels=10).eval()
    theirs = {}
    for name, value in model.state_dict().items():
        name = name.replace("head.fc.", "cls_head.fc_cls.").replace(".downsample.0.", ".downsample.conv.")
        name = name.replace(".downsample.1.", ".downsample.bn.")
        for number in (1, 2):
            if "downsample" not in name:
                name = name.replace(f".conv{number}.weight", f".conv{number}.conv.weight")
                name = name.replace(f".bn{number}.", f".conv{number}.bn.")
        theirs[name] = value + 0.01 if value.is_floating_point() else value
    other = create_tsn(backbone="resnet18", num_classes=5, num_segments=3, in_channels=10).eval()
    report = load_weights(other, theirs)
    assert report.format == "MMAction2" and (report.missing, report.unexpected) == ([], [])
    with torch.no_grad():
        for value in (*model.parameters(), *model.buffers()):
            value += 0.01 if value.is_floating_point() else 0
    video = torch.rand(1, 10, 3, 64, 64)
    assert torch.equal(model(video), other(video))


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (["DATA.FORMAT", "videos"], "DATA.FORMAT must be frames with DATA.MODALITY flow, got 'videos'"),
        (["DATA.FRAME_TEMPLATE", "img_{:05}.jpg"], "must hold a field for x or y and one for a number"),
        (["DATA.MEAN", "[1.0, 2.0, 3.0]"], "DATA.MEAN must hold one number for each of x, y"),
        (["AUG.AA_TYPE", "imgaug_default"], "AUG.AA_TYPE must be '' with DATA.MODALITY flow"),
        (["AUG.COLOR_JITTER", "[0.4, 0.4, 0.4, 0.1]"], "AUG.COLOR_JITTER must be"),
        (["DATA.MODALITY", "depth"], "DATA.MODALITY must be one of 'rgb', 'flow', 'rgb_diff', got 'depth'"),
    ],
)
def test_what_does_not_go_with_flow_is_reported(tmp_path, opts, message):
    with pytest.raises(ConfigError, match=".*" + message.replace("'", ".").replace("[", ".")):
        flow_cfg(tmp_path, *opts)


def test_a_flow_network_asks_for_folders_and_not_for_videos(tmp_path):
    cfg = flow_cfg(tmp_path)
    write_video(tmp_path / "a.mp4", numbered_frames(12, height=36, width=44))
    preprocessing = Preprocessing(cfg, torch.device("cpu"))
    with pytest.raises(VideoError, match=r"a\.mp4: must be a folder of flow images"):
        preprocessing.read_views(str(tmp_path / "a.mp4"))
    assert torch.equal(preprocessing.read_views(str(tmp_path / "a")), build_dataset(cfg, "test")[0]["video"])


@pytest.mark.parametrize("backbone", ["resnet18", "bn_inception"])
def test_the_network_of_a_flow_checkpoint_is_found_by_its_shapes(backbone):
    model = create_tsn(backbone=backbone, num_classes=7, in_channels=10)
    identity = identify(split_checkpoint(model.state_dict()))
    assert (identity.value("backbone"), identity.value("in_channels")) == (backbone, 10)
    load_weights(create_identified(identity), model.state_dict())
