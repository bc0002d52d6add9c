import copy
import re

import pytest
import torch

from tsn_tsm_plugin import get_cfg
from tsn_tsm_plugin.errors import ConfigError, UnknownComponentError
from tsn_tsm_plugin.layers import TemporalShift
from tsn_tsm_plugin.models import build_model, create_tsm, create_tsn
from tsn_tsm_plugin.models.backbones.resnet import resnet18, resnet34, resnet50, resnet101, resnet152


def small(create, **options):
    return create(backbone="resnet18", num_classes=5, **options).eval()


@pytest.mark.parametrize(
    ("create", "num_sites"),
    [(resnet18, 8), (resnet34, 16), (resnet50, 16), (resnet101, 18), (resnet152, 26)],
)
def test_deep_resnets_shift_every_second_block_and_the_others_every_block(create, num_sites):
    with torch.device("meta"):
        sites = create().temporal_shift_sites("blockres")

    assert len(sites) == num_sites
    assert sites[0] == "layer1.0.conv1"


def test_resnet101_shifts_even_blocks_within_each_stage():
    with torch.device("meta"):
        sites = resnet101().temporal_shift_sites("blockres")

    assert [site for site in sites if not site.startswith("layer3")] == [
        f"{stage}.{index}.conv1"
        for stage, indices in (("layer1", (0, 2)), ("layer2", (0, 2)), ("layer4", (0, 2)))
        for index in indices
    ]
    assert [site for site in sites if site.startswith("layer3")] == [
        f"layer3.{index}.conv1" for index in range(0, 23, 2)
    ]


def test_block_placement_shifts_whole_blocks_of_any_depth():
    with torch.device("meta"):
        sites = resnet101().temporal_shift_sites("block")

    assert len(sites) == 33
    assert sites[:3] == ["layer1.0", "layer1.1", "layer1.2"]


def test_tsn_takes_any_number_of_frames():
    model = small(create_tsn, num_segments=3)

    for num_frames in (1, 3, 5):
        assert model(torch.randn(2, 3, num_frames, 32, 32)).shape == (2, 5)


def test_tsn_ignores_the_order_of_frames_and_tsm_does_not():
    video = torch.randn(1, 3, 8, 32, 32)
    tsn, tsm = small(create_tsn), small(create_tsm, fc_init_std=1.0)

    torch.testing.assert_close(tsn(video), tsn(video.flip(2)))
    assert (tsm(video) - tsm(video.flip(2))).abs().max() > 1e-3


def test_causal_tsm_does_not_look_into_the_future():
    model = small(create_tsm, num_segments=4, causal=True)
    seen = []
    model.backbone.register_forward_hook(lambda _, __, features: seen.append(features.unflatten(0, (1, 4))))
    video = torch.randn(1, 3, 4, 32, 32)
    changed = video.clone()
    changed[:, :, 3] += 1

    model(video)
    model(changed)

    assert torch.equal(seen[0][:, :3], seen[1][:, :3])
    assert not torch.equal(seen[0][:, 3], seen[1][:, 3])


@pytest.mark.parametrize("create", [create_tsn, create_tsm])
def test_videos_of_a_batch_do_not_see_each_other(create):
    model = small(create)
    videos = torch.randn(2, 3, 8, 32, 32)

    together = model(videos)

    torch.testing.assert_close(
        together, torch.cat([model(videos[:1]), model(videos[1:])]), rtol=1e-4, atol=1e-6
    )


def test_tsm_refuses_another_number_of_frames():
    model = small(create_tsm, num_segments=8)

    with pytest.raises(ValueError, match=re.escape("built for num_segments=8 frames per view, got 16")):
        model(torch.randn(1, 3, 16, 32, 32))


def test_an_input_that_is_no_batch_of_clips_is_refused():
    with pytest.raises(ValueError, match=re.escape("must be (B, 3, T, H, W), got shape (3, 8, 32, 32)")):
        small(create_tsm)(torch.randn(3, 8, 32, 32))


@pytest.mark.parametrize("num_segments", [4, 5])
def test_temporal_pool_gives_each_video_its_own_row_in_evaluation(num_segments):
    model = small(create_tsm, num_segments=num_segments, temporal_pool=True)
    videos = torch.randn(2, 3, num_segments, 32, 32)

    together = model(videos)

    assert together.shape == (2, 5)
    torch.testing.assert_close(
        together, torch.cat([model(videos[:1]), model(videos[1:])]), rtol=1e-4, atol=1e-6
    )


def test_temporal_pool_halves_the_frames_of_the_later_stages():
    model = small(create_tsm, num_segments=8, temporal_pool=True)

    shifts = {name: m.num_segments for name, m in model.named_modules() if isinstance(m, TemporalShift)}

    assert {frames for name, frames in shifts.items() if ".layer1." in name} == {8}
    assert {frames for name, frames in shifts.items() if ".layer1." not in name} == {4}


def test_repr_describes_the_model():
    model = small(create_tsm, num_segments=16, shift_div=4, temporal_pool=True)

    assert (
        "TSM: backbone=resnet18, num_segments=16, num_classes=5, temporal shift at 8 sites "
        "(shift_div=4, shift_place=blockres), temporal_pool before stage 2"
    ) in repr(model)
    assert "TSN: backbone=resnet18, num_segments=8, num_classes=5, no temporal shift" in repr(
        small(create_tsn)
    )


def test_names_in_the_state_dict_are_torchvisions_with_net_at_shifted_sites():
    names = set(small(create_tsm).state_dict())

    assert {"backbone.conv1.weight", "backbone.layer1.0.conv1.net.weight", "head.fc.bias"} <= names
    assert names - set(small(create_tsn).state_dict()) == {
        f"backbone.layer{stage}.{block}.conv1.net.weight" for stage in (1, 2, 3, 4) for block in (0, 1)
    }


def test_a_copy_of_a_model_gives_the_same_scores():
    model = small(create_tsm)
    video = torch.randn(1, 3, 8, 32, 32)

    assert torch.equal(copy.deepcopy(model)(video), model(video))


def test_a_wrong_shift_place_is_refused():
    with pytest.raises(
        ValueError, match=re.escape("shift_place must be 'blockres' or 'block', got 'inplace'")
    ):
        small(create_tsm, shift_place="inplace")


def test_an_unknown_backbone_is_answered_with_the_nearest():
    with pytest.raises(UnknownComponentError, match="resnet50"):
        create_tsn(backbone="resnet5")


def test_a_recipe_builds_its_model():
    cfg = get_cfg()
    cfg.MODEL.BACKBONE = "resnet18"
    cfg.MODEL.NUM_CLASSES = 6
    cfg.DATA.NUM_FRAMES = 4
    cfg.TSM.SHIFT_DIV = 4

    description = build_model(cfg).describe()

    assert description.startswith("TSM: backbone=resnet18, num_segments=4, num_classes=6")
    assert "shift_div=4" in description


def test_a_recipe_of_an_unknown_method_is_refused():
    cfg = get_cfg()
    cfg.MODEL.ARCH = "slowfast"

    with pytest.raises(ConfigError, match="MODEL.ARCH must be 'tsn' or 'tsm', got 'slowfast'"):
        build_model(cfg)
