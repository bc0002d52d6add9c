"""Contract of every registered backbone, in TSM if it can be shifted, otherwise in TSN."""

import re

import pytest
import torch

from tsn_tsm_plugin.errors import UnknownComponentError
from tsn_tsm_plugin.layers import TemporalShift
from tsn_tsm_plugin.models import create_tsm, create_tsn, load_weights
from tsn_tsm_plugin.models.backbones.create import create_backbone
from tsn_tsm_plugin.registry import BACKBONES

# One small network for each family that is shifted.
SHIFTED = {
    "timm/resnet10t": 4,
    "timm/regnetx_002": 13,
    "timm/mobilenetv3_small_050": 7,
    "timm/efficientnet_lite0": 9,
    "timm/convnext_atto": 12,
    "torchvision/regnet_y_400mf": 16,
    "torchvision/mobilenet_v3_small": 6,
    "torchvision/efficientnet_b0": 9,
    "torchvision/shufflenet_v2_x0_5": 16,
    "timm/densenet121": 58,
    "timm/botnet26t_256": 8,
    "timm/repvgg_a0": 17,
    "timm/nf_regnet_b0": 16,
    "timm/vit_tiny_patch16_224": 12,
    "timm/swin_tiny_patch4_window7_224": 12,
}
# Those that take frames of 32 pixels.
TAKING_ANY_SIZE = [name for name in SHIFTED if not re.search("botnet|vit_|swin_", name)]
UNSHIFTED = ("torchvision/squeezenet1_1", "timm/vgg11", "torchvision/googlenet")


def meta(create, **options):
    with torch.device("meta"):
        return create(**options)


def is_shiftable(name: str) -> bool:
    find_sites = getattr(meta(create_backbone, name=name), "temporal_shift_sites", lambda place: [])
    return bool(find_sites("blockres"))


def build(name: str):
    # torchvision's RegNet cannot be built on the meta device.
    create = create_tsm if name in SHIFTED or is_shiftable(name) else create_tsn
    return create(backbone=name, num_classes=3, num_segments=2, dropout_rate=0.0, fc_init_std=0.1)


@pytest.mark.parametrize("name", [*BACKBONES.names(), *TAKING_ANY_SIZE, *UNSHIFTED[:1]])
def test_a_backbone_learns_and_its_file_gives_the_same_scores(name, tmp_path):
    torch.manual_seed(0)
    model = build(name)
    seen = {}
    model.backbone.register_forward_hook(lambda _, __, features: seen.update(shape=features.shape))
    videos = torch.randn(2, 3, 2, 32, 32)

    scores = model.train()(videos)
    scores.pow(2).sum().backward()
    unused = [n for n, parameter in model.named_parameters() if parameter.grad is None]
    torch.save(model.state_dict(), tmp_path / "model.pth")
    loaded = build(name)
    report = load_weights(loaded, tmp_path / "model.pth")

    assert scores.shape == (2, 3)
    assert unused == []
    assert len(seen["shape"]) == 4
    assert seen["shape"][:2] == (4, model.backbone.num_features)
    assert (report.missing, report.unexpected) == ([], [])
    with torch.inference_mode():
        assert torch.equal(loaded.eval()(videos), model.eval()(videos))


@pytest.mark.parametrize(("name", "num_sites"), sorted(SHIFTED.items()))
def test_every_family_that_is_shifted_is_shifted_at_its_residual_blocks(name, num_sites):
    model = create_tsm(backbone=name, num_classes=3)

    shifts = [module for module in model.modules() if isinstance(module, TemporalShift)]

    assert len(shifts) == len(model.shift_sites) == num_sites


@pytest.mark.parametrize("name", UNSHIFTED)
def test_a_family_that_cannot_be_shifted_is_refused_by_name(name):
    with pytest.raises(ValueError, match=re.escape(f"Backbone {name!r} has no residual blocks")):
        meta(create_tsm, backbone=name)


def test_the_sites_of_mobilenet_v2_are_its_ten_residual_blocks_that_expand():
    backbone = meta(create_backbone, name="mobilenet_v2")

    sites = backbone.temporal_shift_sites("blockres")

    assert sites == [f"features.{number}.conv.0" for number in (3, 5, 6, 8, 9, 10, 12, 13, 15, 16)]
    assert [backbone.get_submodule(site)[0].in_channels for site in sites] == [
        *(24, 32, 32, 64, 64, 64, 96, 96, 160, 160),
    ]


def test_every_block_of_mobileone_but_the_stem_is_shifted():
    sites = meta(create_backbone, name="mobileone_s4").temporal_shift_sites("blockres")

    assert len(sites) == 42
    assert sites[0] == "trunk.stages.0.0"


def test_timm_and_torchvision_shift_the_same_blocks_of_the_same_network():
    for timm_name, torchvision_name in (("resnet101", "resnet101"), ("efficientnet_b0", "efficientnet_b0")):
        from_timm = meta(create_backbone, name=f"timm/{timm_name}").temporal_shift_sites("blockres")
        from_torchvision = meta(create_backbone, name=f"torchvision/{torchvision_name}")

        assert len(from_timm) == len(from_torchvision.temporal_shift_sites("blockres"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timm/resnet5000", "has no image classifier 'resnet5000'; of the same family it has: "),
        ("torchvision/resnet5000", "torchvision has no image classifier 'resnet5000'; it has alexnet"),
        ("resnet5000", "backbone 'resnet5000' is not registered; nearest: resnet50"),
    ],
)
def test_an_unknown_name_is_answered_with_known_ones(name, message):
    with pytest.raises(UnknownComponentError, match=re.escape(message)):
        create_tsn(backbone=name)


def test_swin_takes_frames_of_the_test_crop():
    model = create_tsn(backbone="swin_base_patch4_window7_224", num_classes=3).eval()

    with torch.inference_mode():
        assert model(torch.randn(1, 3, 1, 256, 256)).shape == (1, 3)
