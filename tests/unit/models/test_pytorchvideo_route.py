"""The same weights in PyTorchVideo's own ResNet give the same scores."""

from functools import partial

import pytest
import torch
from pytorchvideo.accelerator.deployment.common.model_transmuter import transmute_model
from pytorchvideo.accelerator.deployment.mobile_cpu import transmuter  # noqa: F401 (fills the registry)
from pytorchvideo.models.resnet import create_resnet
from torch import nn

from tsn_tsm_plugin.errors import CheckpointError
from tsn_tsm_plugin.layers import TemporalShift, tsm_bottleneck
from tsn_tsm_plugin.models import create_tsm, create_tsm_head, create_tsn, create_tsn_head, load_weights


def create_native(**slots) -> nn.Module:
    return create_resnet(
        model_num_class=11,
        stem_conv_kernel_size=(1, 7, 7),
        stage_conv_a_kernel_size=((1, 1, 1),) * 4,
        **slots,
    ).eval()


def native_tsm(**options) -> nn.Module:
    return create_native(bottleneck=partial(tsm_bottleneck, **options), head=create_tsm_head)


def randomise_(model: nn.Module) -> nn.Module:
    """Give every entry of the state dict, running statistics too, a value of its own."""
    generator = torch.Generator().manual_seed(0)
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            scale = 0.05 if value.ndim > 1 else 0.1
            value.copy_(scale * torch.randn(value.shape, generator=generator))
            value.abs_().add_(0.5) if name.endswith("running_var") else None
    return model.eval()


@pytest.mark.parametrize(
    ("create", "native"),
    [
        (create_tsn, lambda: create_native(head=create_tsn_head)),
        (create_tsm, native_tsm),
    ],
    ids=["tsn", "tsm"],
)
def test_the_same_weights_give_the_same_scores(create, native):
    model = randomise_(create(num_classes=11, num_segments=4))
    network = native()
    video = torch.randn(2, 3, 4, 64, 64)

    report = load_weights(network, model.state_dict())

    assert (report.missing, report.unexpected, report.num_mapped) == ([], [], len(model.state_dict()))
    with torch.inference_mode():
        scores, expected = network(video), model(video)
    torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-4 * expected.std().item())


def test_a_tsn_checkpoint_does_not_enter_a_native_tsm():
    with pytest.raises(CheckpointError, match="the model shifts 16 sites"):
        load_weights(native_tsm(), create_tsn(num_classes=11).state_dict())


def test_the_shift_survives_the_transmuter():
    network = randomise_(native_tsm())
    video = torch.randn(1, 3, 4, 32, 32)
    with torch.inference_mode():
        expected = network(video)

        transmute_model(network, target_device="mobile_cpu")

        torch.testing.assert_close(network(video), expected)
    assert not isinstance(network.blocks[1].res_blocks[0].branch2.conv_a.net, nn.Conv3d)


def test_a_causal_bottleneck_shifts_from_the_past_only():
    with torch.device("meta"):
        network = native_tsm(causal=True, shift_div=4)

    shifts = [module for module in network.modules() if isinstance(module, TemporalShift)]

    assert {(shift.causal, shift.shift_div) for shift in shifts} == {(True, 4)}
