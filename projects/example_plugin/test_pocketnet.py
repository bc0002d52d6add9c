"""Run after `pip install .`: what a backbone of tsn_tsm_plugin must hold."""

import pytest
import torch
from pocketnet import pocketnet
from torch.nn.functional import cross_entropy

from tsn_tsm_plugin import create_tsm, create_tsn
from tsn_tsm_plugin.registry import BACKBONES


def test_the_entry_point_is_found():
    assert BACKBONES.get("pocketnet") is pocketnet


def test_images_become_a_feature_map_of_the_promised_width():
    backbone = pocketnet()

    assert backbone(torch.zeros(2, 3, 64, 48)).shape == (2, backbone.num_features, 4, 3)


@pytest.mark.parametrize("shift_place", ["blockres", "block"])
def test_the_shift_sites_are_submodules(shift_place):
    backbone = pocketnet()
    sites = backbone.temporal_shift_sites(shift_place)

    assert len(sites) == len(backbone.blocks)
    assert all(backbone.get_submodule(site) for site in sites)


def test_an_unknown_shift_place_is_refused():
    with pytest.raises(ValueError, match="'blockres' or 'block', got 'everywhere'"):
        pocketnet().temporal_shift_sites("everywhere")


def test_weights_are_read_from_a_file(tmp_path):
    trained = pocketnet()
    torch.save(trained.state_dict(), tmp_path / "pocketnet.pt")
    loaded = pocketnet(weights=str(tmp_path / "pocketnet.pt"))

    assert torch.equal(loaded.blocks[2].conv2.weight, trained.blocks[2].conv2.weight)


def test_tsm_tells_the_order_of_frames_and_tsn_does_not():
    video = torch.rand(1, 3, 4, 32, 32)
    tsm = create_tsm(backbone="pocketnet", num_classes=5, num_segments=4).eval()
    tsn = create_tsn(backbone="pocketnet", num_classes=5, num_segments=4).eval()

    assert not torch.allclose(tsm(video), tsm(video.flip(2)), atol=1e-6)
    assert torch.allclose(tsn(video), tsn(video.flip(2)), atol=1e-6)


def test_tsm_trains_for_a_step():
    torch.manual_seed(0)
    model = create_tsm(backbone="pocketnet", num_classes=2, num_segments=4, dropout_rate=0.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    video, label = torch.rand(4, 3, 4, 32, 32), torch.tensor([0, 1, 0, 1])

    before = cross_entropy(model(video), label)
    before.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    optimizer.step()

    assert cross_entropy(model(video), label) < before
