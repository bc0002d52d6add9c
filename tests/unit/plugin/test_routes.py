"""Each route that `status` lists for a component reaches it."""

import inspect

import pytest
import torch
from pytorchvideo.data import LabeledVideoDataset, clip_sampling, encoded_video
from pytorchvideo.models import audio_visual_slowfast, csn, hub, r2plus1d, resnet, slowfast, x3d
from support.videos import write_video
from torch import nn
from torch.utils.data import SequentialSampler

from tsn_tsm_plugin import status
from tsn_tsm_plugin.layers import NonLocal, TemporalShift
from tsn_tsm_plugin.models import TSM, TSN
from tsn_tsm_plugin.models.heads import TSMHead, TSNHead
from tsn_tsm_plugin.pytorchvideo_patch.activate import activate, list_components
from tsn_tsm_plugin.pytorchvideo_patch.routes import routes_to
from tsn_tsm_plugin.transforms import MixCollate

activate()
OWN = [entry for entry in list_components() if entry.distribution == "tsn_tsm_plugin"]
ROUTES = [(entry, route) for entry in OWN for route in routes_to(entry)]
HOSTS = (resnet, slowfast, audio_visual_slowfast, csn, r2plus1d, x3d)
WIDTHS = {"dim_in": 16, "dim_inner": 8, "dim_out": 32}


@pytest.fixture(scope="module")
def video_path(tmp_path_factory):
    return str(write_video(tmp_path_factory.mktemp("video") / "a.mp4", 24, fps=24))


def build_network(route) -> nn.Module:
    if route.builder.startswith("hub."):
        build = getattr(hub, route.builder.removeprefix("hub."))
    else:
        build = next(vars(host)[route.builder] for host in HOSTS if route.builder in vars(host))
    options = {route.keyword: route.name} if route.keyword else {}
    if "dim_in" in inspect.signature(build).parameters:
        options |= WIDTHS | ({"depth": 2} if "depth" in inspect.signature(build).parameters else {})
    with torch.device("meta"):
        return build(**options)


def has(network: nn.Module, kind: type) -> bool:
    return any(isinstance(module, kind) for module in network.modules())


def reach(entry, route, video_path) -> bool:
    if entry.kind == "head":
        return has(build_network(route), {"tsn": TSNHead, "tsm": TSMHead}[entry.name])
    if entry.kind == "bottleneck":
        network = build_network(route)
        parts = (has(network, TemporalShift), has(network, NonLocal))
        return parts == {"tsn": (False, False), "tsm": (True, False), "tsm_nl": (True, True)}[entry.name]
    if entry.kind == "backbone":
        network = build_network(route)
        return isinstance(network, TSN | TSM) and network.backbone_name == entry.name
    if entry.kind == "sampler":
        sampler = clip_sampling.make_clip_sampler(route.name, 4)
        dataset = LabeledVideoDataset([(video_path, {})], sampler, SequentialSampler)
        return next(iter(dataset))["video"].shape[1] % 4 == 0
    if entry.kind == "decoder":
        decoder = route.name
        if route.builder == "EncodedVideo.from_path":
            video = encoded_video.EncodedVideo.from_path(video_path, decode_audio=False, decoder=decoder)
            return video.get_clip(0, 1)["video"].shape[1] == 24
        sampler = clip_sampling.make_clip_sampler("uniform_segments", 4)
        dataset = LabeledVideoDataset([(video_path, {})], sampler, SequentialSampler, decoder=decoder)
        return next(iter(dataset))["video"].shape[1] == 4
    if entry.kind == "batch_transform":
        clips = [{"video": torch.rand(3, 2, 8, 8), "label": label} for label in (0, 2)]
        return MixCollate(route.name, num_classes=3)(clips)["label"].shape == (2, 3)
    from pytorchvideo.transforms import create_video_transform

    mode = "test" if entry.name in ("twice_sample", "dense_views", "three_crop", "ten_crop") else "train"
    paras = {"num_views": 2, "sample_range": 8} if entry.name == "dense_views" else None
    transform = create_video_transform(
        mode=mode, aug_type=route.name, aug_paras=paras, num_samples=4, min_size=32, max_size=32, crop_size=32
    )
    return transform(torch.zeros(3, 16, 40, 48, dtype=torch.uint8)).shape[-2:] == (32, 32)


def route_case(entry, route):
    optional = entry.kind == "decoder" and route.name != "pyav"
    return pytest.param(entry, route, id=str(route), marks=[pytest.mark.extras] if optional else [])


@pytest.mark.parametrize(("entry", "route"), [route_case(*case) for case in ROUTES])
def test_a_route_reaches_its_component(entry, route, video_path):
    try:
        assert reach(entry, route, video_path)
    except ValueError as error:
        # A backbone of TSN may have no site for a shift; then TSM names the backbone and the way on.
        assert entry.kind == "backbone" and route.builder.startswith("hub.tsm")
        assert entry.name in str(error)


def test_the_status_lists_every_component_with_its_routes():
    text = str(status())

    for entry in OWN:
        assert entry.name in text
    assert "create_slowfast(head='tsm')" in text
    assert "make_clip_sampler('twice_sample')" in text


def test_every_kind_but_the_recipes_own_has_routes():
    reached = {entry.kind for entry, _ in ROUTES}

    assert {entry.kind for entry in OWN} - reached <= {
        "temporal_module",
        "dataset",
        "optimizer",
        "lr_policy",
        "loss",
        "logger",
    }


def test_every_backbone_of_the_zoo_is_a_hub_model():
    from pathlib import Path

    import yaml

    folder = Path(__file__).resolve().parents[3] / "projects"
    files = [*(folder / "tsn").rglob("*.yaml"), *(folder / "tsm").rglob("*.yaml")]
    recipes = [yaml.safe_load(path.read_text()) or {} for path in files]
    named = {recipe.get("MODEL", {}).get("BACKBONE") for recipe in recipes} - {None}

    assert named
    for backbone in named:
        (entry,) = [entry for entry in OWN if (entry.kind, entry.name) == ("backbone", backbone)]
        hub_names = {route.builder for route in routes_to(entry) if not route.keyword}
        assert any(name.startswith("hub.tsn_") for name in hub_names), backbone
