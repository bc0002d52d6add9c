import re

import pytest
import torch

from tsn_tsm_plugin.models import create_tsm
from tsn_tsm_plugin.models.backbones.non_local_sites import NonLocalOptions, find_non_local_sites
from tsn_tsm_plugin.models.backbones.resnet import resnet18, resnet50, resnet152


def small(**options):
    return create_tsm(**{"backbone": "resnet18", "num_classes": 5, "num_segments": 4, **options}).eval()


@pytest.mark.parametrize(
    ("create", "sites"),
    [
        (resnet18, {"layer2.0": 128, "layer3.0": 256}),
        (resnet50, {"layer2.0": 512, "layer2.2": 512, "layer3.0": 1024, "layer3.2": 1024, "layer3.4": 1024}),
        (resnet152, {"layer2.0": 512, "layer2.2": 512, "layer3.0": 1024, "layer3.2": 1024, "layer3.4": 1024}),
    ],
)
def test_the_sites_of_the_paper_exist_at_any_depth(create, sites):
    with torch.device("meta"):
        backbone = create()

    assert find_non_local_sites(backbone) == sites


def test_deep_networks_keep_all_their_blocks():
    with torch.device("meta"):
        model = create_tsm(backbone="resnet101", non_local="gaussian")

    assert [len(getattr(model.backbone, f"layer{stage}")) for stage in (1, 2, 3, 4)] == [3, 4, 23, 3]


def test_a_fresh_non_local_block_leaves_the_scores_as_they_are():
    plain, with_block = small(), small(non_local=("dot_product", ["layer1.1", "layer4.0"]))
    own = with_block.state_dict()
    bare = {name.replace(".block.", "."): name for name in own}
    with_block.load_state_dict({**own, **{bare[n]: v for n, v in plain.state_dict().items()}})
    video = torch.randn(2, 3, 4, 32, 32)

    assert torch.equal(with_block(video), plain(video))
    assert with_block.non_local_sites == ["layer1.1", "layer4.0"]


def test_with_temporal_pool_the_block_sees_the_frames_that_are_left():
    model = small(non_local="gaussian", temporal_pool=True)
    videos = torch.randn(2, 3, 4, 32, 32)

    together = model(videos)

    apart = torch.cat([model(videos[:1]), model(videos[1:])])
    torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("shift_place", ["block", "blockres"])
def test_shift_and_non_local_may_meet_at_a_block(shift_place):
    model = small(non_local="dot_product", shift_place=shift_place)

    assert model(torch.randn(1, 3, 4, 32, 32)).shape == (1, 5)
    assert "dot_product non-local after layer2.0, layer3.0" in model.describe()


def test_a_mapping_sets_scale_and_sub_sampling():
    options = NonLocalOptions.parse({"kind": "embedded_gaussian", "use_scale": True, "sub_sample": False})

    assert (options.use_scale, options.sub_sample, options.sites) == (True, False, ())


def test_non_local_goes_behind_the_blocks_of_other_families_too():
    model = create_tsm(
        backbone="timm/convnext_atto",
        num_classes=5,
        num_segments=2,
        non_local=("dot_product", ["trunk.stages.2.blocks.1"]),
    )

    assert model(torch.randn(1, 3, 2, 64, 64)).shape == (1, 5)


@pytest.mark.parametrize(
    ("non_local", "message"),
    [
        (
            "concatenation",
            "kind must be one of embedded_gaussian, gaussian, dot_product, got",
        ),
        (("gaussian", ["layer9.0"]), "non_local needs names of blocks of ResNetBackbone, got ['layer9.0']"),
        ({"sites": ["layer2.0"]}, "non_local must have the keys kind"),
        (("gaussian", ["relu"]), "non_local must follow a block with convolutions, got 'relu'"),
    ],
)
def test_what_does_not_exist_is_refused(non_local, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        small(non_local=non_local)
