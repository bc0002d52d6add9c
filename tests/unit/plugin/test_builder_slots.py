"""Names of heads and bottlenecks in PyTorchVideo's builders."""

import pytest
import torch
from pytorchvideo.models import csn, hub, r2plus1d, resnet, slowfast, vision_transformers, x3d
from torch import nn

from tsn_tsm_plugin.errors import CheckpointError, UnknownComponentError
from tsn_tsm_plugin.layers import NonLocal, TemporalShift
from tsn_tsm_plugin.models import TSM, create_tsm_head
from tsn_tsm_plugin.models.backbones.resnet import resnet101
from tsn_tsm_plugin.models.heads import TSMHead, TSNHead
from tsn_tsm_plugin.pytorchvideo_patch.activate import activate, deactivate


@pytest.fixture(autouse=True)
def _active():
    activate()


def shifted(network: nn.Module) -> list[str]:
    return [name for name, module in network.named_modules() if isinstance(module, TemporalShift)]


def clips(*num_frames: int, size: int = 32):
    videos = [torch.rand(1, 3, count, size, size) for count in num_frames]
    return videos[0] if len(videos) == 1 else videos


BUILDERS = {
    "resnet": (lambda **slots: resnet.create_resnet(**slots), clips(4), 16),
    "slowfast": (lambda **slots: slowfast.create_slowfast(**slots), clips(2, 8), 32),
    "csn": (lambda **slots: csn.create_csn(**slots), clips(8), 16),
    "r2plus1d": (lambda **slots: r2plus1d.create_r2plus1d(**slots), clips(4), 16),
    "slow_r50": (lambda **slots: hub.slow_r50(**slots), clips(4), 16),
    "slowfast_r50": (lambda **slots: hub.slowfast_r50(**slots), clips(2, 8), 32),
}


@pytest.mark.parametrize("name", BUILDERS)
def test_a_network_is_built_with_our_parts_by_name_and_scores_a_clip(name):
    build, video, num_shifts = BUILDERS[name]

    network = build(head="tsm", bottleneck="tsm", model_num_class=5).eval()

    assert len(shifted(network)) == num_shifts
    assert isinstance(network.blocks[-1], TSMHead)
    with torch.inference_mode():
        assert network(video).shape == (1, 5)


def test_by_name_is_what_it_is_by_object():
    slots = {"model_num_class": 5, "stage_conv_a_kernel_size": ((1, 1, 1),) * 4}
    by_name = resnet.create_resnet(head="tsm", bottleneck="tsm", **slots).eval()
    from tsn_tsm_plugin.layers import tsm_bottleneck

    by_object = resnet.create_resnet(head=create_tsm_head, bottleneck=tsm_bottleneck, **slots).eval()
    by_object.load_state_dict(by_name.state_dict())

    video = clips(4)
    with torch.inference_mode():
        assert torch.equal(by_name(video), by_object(video))


def test_a_named_shift_makes_scores_depend_on_the_order_of_frames():
    slots = {
        "model_num_class": 5,
        "stem_conv_kernel_size": (1, 7, 7),
        "stage_conv_a_kernel_size": ((1, 1, 1),) * 4,
        "head": "tsn",
    }
    video = clips(4)
    for bottleneck, sees_order in (("tsm", True), ("tsn", False)):
        torch.manual_seed(0)
        network = resnet.create_resnet(bottleneck=bottleneck, **slots).eval()
        for module in network.modules():
            # PyTorchVideo starts residual branches at zero.
            if isinstance(module, nn.BatchNorm3d):
                nn.init.ones_(module.weight)
        with torch.inference_mode():
            same = torch.allclose(network(video), network(video.flip(2)), atol=1e-6)
        assert same is not sees_order


def test_deep_networks_shift_every_second_block():
    with torch.device("meta"):
        network = resnet.create_resnet(model_depth=101, bottleneck="tsm", head="tsm")
        sites = resnet101().temporal_shift_sites("blockres")

    assert shifted(network) == [
        f"blocks.{stage[-1]}.res_blocks.{block}.branch2.conv_a"
        for stage, block, _ in (site.split(".") for site in sites)
    ]


def test_an_interrupted_build_leaves_the_sites_of_the_next_as_they_are():
    def interrupted_norm(num_features, **options):
        if num_features == 1024:
            raise KeyboardInterrupt
        return nn.BatchNorm3d(num_features, **options)

    with torch.device("meta"):
        with pytest.raises(KeyboardInterrupt):
            resnet.create_resnet(model_depth=101, bottleneck="tsm", norm=interrupted_norm)
        network = resnet.create_resnet(model_depth=101, bottleneck="tsm")

    assert [int(name.split(".")[3]) % 2 for name in shifted(network)] == [0] * 18


def test_non_local_blocks_stand_where_the_references_have_them_and_start_as_the_identity():
    torch.manual_seed(0)
    network = resnet.create_resnet(bottleneck="tsm_nl", head="tsm", model_num_class=3).eval()
    sites = [name for name, module in network.named_modules() if isinstance(module, NonLocal)]

    assert sites == [f"blocks.{s}.res_blocks.{b}.1" for s, b in ((2, 0), (2, 2), (3, 0), (3, 2), (3, 4))]
    features = torch.rand(1, 512, 2, 4, 4)
    non_local = network.get_submodule(sites[0])
    with torch.inference_mode():
        assert torch.equal(non_local(features), features)


def test_each_stage_may_have_a_name_or_an_object():
    stages = ("tsn", "tsm_nl", "tsm", resnet.create_bottleneck_block)
    with torch.device("meta"):
        network = resnet.create_resnet(bottleneck=stages, head="tsn")

    assert {name.split(".")[1] for name in shifted(network)} == {"2", "3"}
    assert isinstance(network.blocks[-1], TSNHead)


def test_x3d_and_its_stages_keep_their_own_blocks():
    network = x3d.create_x3d(bottleneck="tsm", input_clip_length=4, input_crop_size=32).eval()
    block = network.blocks[1].res_blocks[0]

    assert isinstance(block.branch2.conv_a, TemporalShift)
    assert block.branch2.conv_b.groups == block.branch2.conv_b.in_channels
    with torch.inference_mode():
        assert network(clips(4)).shape == (1, 400)


def test_r2plus1d_keeps_its_split_convolutions():
    network = r2plus1d.create_r2plus1d(stage_bottleneck="tsm")

    assert type(network.blocks[1].res_blocks[0].branch2.conv_b).__name__ == "Conv2plus1d"


def test_a_stage_and_a_block_take_names():
    widths = {"dim_in": 16, "dim_inner": 8, "dim_out": 32}
    stage = resnet.create_res_stage(depth=2, bottleneck="tsm", **widths)
    block = resnet.create_res_block(bottleneck="tsm", **widths)

    assert len(shifted(stage)) == 2
    assert shifted(block) == ["branch2.conv_a"]


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: resnet.create_resnet(head="tsmm"), UnknownComponentError, "nearest: tsm"),
        (lambda: csn.create_csn(bottleneck="tms"), UnknownComponentError, "nearest: tsn, tsm"),
        (lambda: x3d.create_x3d(head="tsm"), ValueError, "do not pass head"),
        (lambda: resnet.create_resnet_with_roi_head(head="tsm"), ValueError, "scores per box"),
        (lambda: slowfast.create_slowfast_with_roi_head(bottleneck="tsm"), ValueError, "its own blocks"),
        (
            lambda: vision_transformers.create_multiscale_vision_transformers(
                spatial_size=32, temporal_size=2, head="tsm"
            ),
            ValueError,
            "gives tokens",
        ),
        (
            lambda: slowfast.create_slowfast(
                bottleneck="tsm", stem_dim_outs=(64, 4), slowfast_channel_reduction_ratio=16
            ),
            ValueError,
            "1/8 of the channels, but block 0 of a stage has 4",
        ),
    ],
)
def test_what_cannot_work_is_refused_with_the_reason(build, error, message):
    with pytest.raises(error, match=message):
        build()


def test_what_is_no_name_goes_through_and_names_are_unknown_without_activation():
    def block(**options):
        return resnet.create_bottleneck_block(**options)

    with torch.device("meta"):
        assert not shifted(resnet.create_resnet(bottleneck=block, head=None))
        kept = resnet.create_resnet
        assert deactivate()
        with pytest.raises(TypeError):
            kept(bottleneck="tsm")
        with pytest.raises(TypeError):
            resnet.create_resnet(bottleneck="tsm")


def test_hub_models_take_pytorchvideos_keywords_and_ours():
    with torch.device("meta"):
        network = hub.tsm_r18(model_num_class=174, input_clip_length=4, dropout_rate=0.1, input_channel=3)

    assert (type(network), network.num_classes, network.num_segments) == (TSM, 174, 4)
    assert network.head.dropout.p == 0.1
    with torch.device("meta"):
        assert hub.tsm_r18(input_channel=10).backbone.conv1.in_channels == 10


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: hub.tsm_r18(model_num_classes=3), "nearest: model_num_class, num_classes"),
        (lambda: hub.tsm_r18(model_num_class=3, num_classes=4), "two values for num_classes"),
        (lambda: hub.tsm_r18(backbone="resnet50"), r"call tsm\(backbone='resnet50'\)"),
        (lambda: hub.tsm_r18(pretrained=True, weights="a.pt"), "not both"),
    ],
)
def test_a_wrong_keyword_of_a_hub_model_is_named(build, message):
    with pytest.raises(TypeError, match=message):
        build()


def test_any_backbone_of_timm_is_a_hub_model():
    with torch.device("meta"):
        network = hub.tsn(backbone="timm/resnet18", model_num_class=3)

    assert network.describe().startswith("TSN: backbone=timm/resnet18")


def test_pretrained_takes_the_file_of_imagenet_weights(tmp_path):
    import torchvision

    torch.save(torchvision.models.resnet18().state_dict(), tmp_path / "resnet18.pt")
    given = torch.load(tmp_path / "resnet18.pt", weights_only=True)

    network = hub.tsm_r18(pretrained=tmp_path / "resnet18.pt", model_num_class=3)

    assert torch.equal(network.backbone.state_dict()["conv1.weight"], given["conv1.weight"])


def test_pretrained_takes_the_checkpoint_of_a_whole_network(tmp_path):
    trained = hub.tsm_r18(model_num_class=3)
    torch.save(trained.state_dict(), tmp_path / "tsm.pth")

    network = hub.tsm_r18(pretrained=str(tmp_path / "tsm.pth"), model_num_class=3)

    assert all(torch.equal(a, b) for a, b in zip(trained.parameters(), network.parameters(), strict=True))


@pytest.mark.parametrize(
    ("pretrained", "message"),
    [("none.pth", "none.pth is not a file"), ("IMAGENET1K_V9", "IMAGENET1K_V9")],
)
def test_weights_that_are_not_there_are_named(pretrained, message):
    with pytest.raises(CheckpointError, match=message):
        hub.tsm_r18(pretrained=pretrained, model_num_class=3)
