"""Tests of the contracts of backbones, heads and samplers in tsn_tsm_plugin; run after `pip install .`."""

import pickle

import pytest
import torch
from pocketnet import SteadySampler, attention_head, pocketnet
from torch.nn.functional import cross_entropy

from tsn_tsm_plugin import build_model, get_cfg
from tsn_tsm_plugin.registry import BACKBONES, HEADS, SAMPLERS
from tsn_tsm_plugin.transforms.build import build_index_sampler


def test_the_entry_points_are_found():
    assert BACKBONES.get("pocketnet") is pocketnet
    assert HEADS.get("pocket_attention") is attention_head
    assert SAMPLERS.get("pocket_steady") is SteadySampler


def test_images_become_a_feature_map_of_the_promised_width():
    backbone = pocketnet()

    assert backbone(torch.zeros(2, 3, 64, 48)).shape == (2, backbone.num_features, 4, 3)


@pytest.mark.parametrize("shift_place", ["blockres", "block"])
def test_the_shift_sites_are_submodules(shift_place):
    backbone = pocketnet()
    sites = backbone.temporal_shift_sites(shift_place)

    assert len(sites) == 3
    assert all(backbone.get_submodule(site) for site in sites)


def test_an_unknown_shift_place_is_refused():
    with pytest.raises(ValueError, match="'blockres' or 'block', got 'everywhere'"):
        pocketnet().temporal_shift_sites("everywhere")


def test_weights_are_read_from_a_file(tmp_path):
    trained = pocketnet()
    torch.save(trained.state_dict(), tmp_path / "pocketnet.pt")
    loaded = pocketnet(weights=str(tmp_path / "pocketnet.pt"))

    assert torch.equal(loaded[2].conv2.weight, trained[2].conv2.weight)


def test_the_head_maps_any_number_of_frames_of_any_size_to_scores():
    head = attention_head(in_features=6, out_features=5, pool=None, dropout_rate=0.0)

    assert head(torch.zeros(2, 6, 4, 3, 3)).shape == (2, 5)
    assert head(torch.zeros(1, 6, 9, 1, 2)).shape == (1, 5)


def test_the_head_attends_to_frames():
    head = attention_head(in_features=1, out_features=2, dropout_rate=0.0)
    video = torch.zeros(1, 1, 4, 1, 1)
    video[:, :, 2] = 1.0
    torch.nn.init.constant_(head.attention.weight, 100.0)  # All attention is on features equal to 1.

    torch.testing.assert_close(head(video), head(video[:, :, 2:3]))


def test_the_sampler_keeps_the_interval():
    sampler = SteadySampler(4, mode="train")
    starts = set()
    for seed in range(20):
        indices = sampler(40, torch.Generator().manual_seed(seed))
        assert indices.diff().tolist() == [10, 10, 10]
        starts.add(int(indices[0]))

    assert starts <= set(range(10)) and len(starts) > 5


def test_test_views_share_the_interval():
    assert SteadySampler(4, mode="test")(40).tolist() == [5, 15, 25, 35]
    assert SteadySampler(4, mode="test", num_views=2)(40).tolist() == [2, 12, 22, 32, 7, 17, 27, 37]
    assert SteadySampler(4, mode="test")(2).tolist() == [0, 0, 1, 1]


def test_the_sampler_reaches_spawned_workers():
    sampler = SteadySampler(4, mode="test")

    assert pickle.loads(pickle.dumps(sampler)) == sampler


@pytest.fixture
def cfg():
    cfg = get_cfg()
    cfg.MODEL.update(BACKBONE="pocketnet", HEAD="pocket_attention", NUM_CLASSES=2, DROPOUT_RATE=0.0)
    cfg.DATA.SAMPLER = "pocket_steady"
    return cfg


def test_all_three_are_built_by_the_names_in_a_recipe(cfg):
    model = build_model(cfg)

    assert model.describe().startswith(
        "TSM: backbone=pocketnet, num_segments=8, num_classes=2, head=Attention"
    )
    assert build_index_sampler(cfg, "train") == SteadySampler(8, mode="train")


def test_tsm_depends_on_the_order_of_frames_and_tsn_does_not(cfg):
    video = torch.rand(1, 3, 8, 32, 32)
    tsm = build_model(cfg).eval()
    cfg.MODEL.ARCH = "tsn"
    tsn = build_model(cfg).eval()

    assert not torch.allclose(tsm(video), tsm(video.flip(2)), atol=1e-6)
    assert torch.allclose(tsn(video), tsn(video.flip(2)), atol=1e-6)


def test_tsm_trains_for_a_step(cfg):
    torch.manual_seed(0)
    model = build_model(cfg)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    video, label = torch.rand(4, 3, 8, 32, 32), torch.tensor([0, 1, 0, 1])

    before = cross_entropy(model(video), label)
    before.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    optimizer.step()

    assert cross_entropy(model(video), label) < before
