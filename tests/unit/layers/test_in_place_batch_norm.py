import copy

import pytest
import torch
from torch import nn

from tsn_tsm_plugin import create_tsm, optimize_for_inference
from tsn_tsm_plugin.layers import InPlaceBatchNorm2d


def norm_with_statistics() -> InPlaceBatchNorm2d:
    torch.manual_seed(0)
    norm = InPlaceBatchNorm2d(6)
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2.0)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return norm


def plain_copy(norm: InPlaceBatchNorm2d) -> nn.BatchNorm2d:
    plain = nn.BatchNorm2d(norm.num_features)
    plain.load_state_dict(norm.state_dict())
    return plain.train(norm.training)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_evaluation_overwrites_the_input_with_what_batch_norm_computes(dtype, memory_format):
    norm = norm_with_statistics().eval()
    if dtype is torch.float64:
        norm = norm.double()
    x = torch.randn(2, 6, 5, 4).to(dtype=dtype, memory_format=memory_format)

    with torch.no_grad():
        expected = plain_copy(norm).to(norm.weight.dtype)(x)
        out = norm(x)

    assert torch.equal(out, expected)
    assert out.data_ptr() == x.data_ptr()
    assert out.is_contiguous(memory_format=memory_format)


def test_training_and_gradients_leave_the_input_alone():
    norm = norm_with_statistics().train()
    x = torch.randn(2, 6, 5, 4)
    kept = x.clone()

    assert torch.equal(norm(x), plain_copy(norm)(x))
    norm.eval()
    norm(x).sum().backward()

    assert torch.equal(x, kept)
    assert norm.weight.grad is not None


def test_statistics_of_the_batch_are_followed_in_training():
    norm = norm_with_statistics().train()
    plain = plain_copy(norm)
    x = torch.randn(2, 6, 5, 4)

    with torch.no_grad():
        norm(x)
        plain(x)

    assert torch.equal(norm.running_mean, plain.running_mean)
    assert torch.equal(norm.running_var, plain.running_var)


def test_a_traced_or_exported_network_does_not_overwrite_its_input():
    norm = norm_with_statistics().eval()
    x = torch.randn(2, 6, 5, 4)
    kept = x.clone()

    with torch.no_grad():
        torch.jit.trace(norm, (x.clone(),))(x)
        torch.export.export(norm, (x.clone(),)).module()(x)

    assert torch.equal(x, kept)


@pytest.mark.parametrize("backbone", ["resnet18", "resnet50", "mobilenet_v2"])
def test_networks_score_to_the_bit_as_with_plain_batch_norm(backbone):
    torch.manual_seed(0)
    model = create_tsm(backbone=backbone, num_classes=5, num_segments=2).eval()
    plain = copy.deepcopy(model)
    for module in plain.modules():
        if isinstance(module, InPlaceBatchNorm2d):
            module.__class__ = nn.BatchNorm2d
    clip = torch.randn(1, 3, 2, 64, 64)

    with torch.no_grad():
        assert torch.equal(model(clip), plain(clip))
    assert any(isinstance(module, InPlaceBatchNorm2d) for module in model.modules())


def test_optimized_networks_have_folded_it():
    model = optimize_for_inference(create_tsm(backbone="resnet18", num_classes=5, num_segments=2))

    assert not any(isinstance(module, nn.BatchNorm2d) for module in model.modules())
