import copy
import pickle

import pytest
import torch
from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from tsn_tsm_plugin import StreamingTSM, create_tsm, optimize_for_inference
from tsn_tsm_plugin.models.deploy.fused_residual import (
    FusedResidualBlock,
    fuse_residual_blocks_,
    has_fused_convolutions,
)


def folded(block: nn.Module) -> nn.Module:
    """Make a block look as folding leaves it."""
    torch.manual_seed(0)
    for name, module in list(block.named_modules()):
        if isinstance(module, nn.BatchNorm2d):
            block.set_submodule(name, nn.Identity())
        elif isinstance(module, nn.Conv2d):
            module.bias = nn.Parameter(torch.randn(module.out_channels))
    return block.eval().bfloat16().requires_grad_(False)


def downsample(num_in: int, num_out: int, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(num_in, num_out, 1, stride, bias=False), nn.BatchNorm2d(num_out))


BLOCKS = {
    "basic": lambda: BasicBlock(16, 16),
    "basic, downsampling": lambda: BasicBlock(16, 32, 2, downsample(16, 32, 2)),
    "bottleneck": lambda: Bottleneck(64, 16),
    "bottleneck, downsampling": lambda: Bottleneck(64, 32, 2, downsample(64, 128, 2)),
    "groups": lambda: Bottleneck(64, 32, 1, downsample(64, 128, 1), groups=4, base_width=32),
}


@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("size", [(10, 8), (1, 1)])
@pytest.mark.parametrize("name", BLOCKS)
def test_a_fused_block_computes_what_its_parts_compute_one_by_one(name, size, memory_format):
    block = folded(BLOCKS[name]())
    fused = FusedResidualBlock(block)
    x = torch.randn(3, block.conv1.in_channels, *size).to(torch.bfloat16, memory_format=memory_format)

    with torch.no_grad():
        expected = copy.deepcopy(block).float()(x.float())
        by_parts = block(x.clone())
        out = fused(x.clone())

    # One rounding less than the parts, so no farther from float32 than they are.
    assert (out - expected).abs().mean() <= 1.05 * (by_parts - expected).abs().mean()
    assert torch.allclose(out.float(), expected, rtol=0.1, atol=0.1 * float(expected.std()))
    assert fused.state_dict().keys() == block.state_dict().keys()


def test_gradients_go_through_the_parts():
    block = folded(BLOCKS["bottleneck"]())
    x = torch.randn(1, 64, 4, 4, dtype=torch.bfloat16, requires_grad=True)

    FusedResidualBlock(block)(x).sum().backward()

    assert x.grad is not None


def test_blocks_that_are_not_folded_or_not_in_bf16_stay():
    network = nn.Sequential(Bottleneck(64, 16).bfloat16(), folded(Bottleneck(64, 16)).float())

    fuse_residual_blocks_(network)

    assert [type(block) for block in network] == [Bottleneck, Bottleneck]


@pytest.mark.parametrize("options", [{}, {"shift_place": "block"}, {"temporal_pool": True}, {"causal": True}])
@pytest.mark.parametrize("backbone", ["resnet18", "resnet50"])
def test_an_optimized_network_is_fused_and_agrees_with_its_parts(backbone, options):
    torch.manual_seed(0)
    model = create_tsm(backbone=backbone, num_segments=4, num_classes=8, fc_init_std=1.0, **options).eval()
    clip = torch.randn(2, 3, 4, 64, 64)

    optimized = optimize_for_inference(model, dtype=torch.bfloat16)

    is_fused = any(isinstance(module, FusedResidualBlock) for module in optimized.modules())
    assert is_fused == has_fused_convolutions()
    with torch.no_grad():
        expected, scores = model(clip), optimized(clip)
        assert torch.equal(scores, optimized(clip))
    assert (scores - expected).abs().max() < 0.1 * expected.std()


def test_a_fused_network_streams_like_its_batched_self():
    torch.manual_seed(0)
    model = create_tsm(
        backbone="resnet18", num_segments=4, num_classes=8, fc_init_std=1.0, causal=True, dropout_rate=0.0
    ).eval()
    optimized = optimize_for_inference(model, dtype=torch.bfloat16)
    clip = torch.randn(1, 3, 4, 64, 64)

    with torch.no_grad():
        expected = model(clip)
        stream = StreamingTSM(optimized)
        scores = torch.stack([stream(clip[:, :, t]) for t in range(4)]).mean(0)

    assert (scores - expected).abs().max() < 0.1 * expected.std()


def test_weights_that_change_after_a_run_are_seen():
    block = folded(BLOCKS["bottleneck, downsampling"]())
    fused = FusedResidualBlock(block)
    x = torch.randn(2, 64, 6, 6).to(torch.bfloat16, memory_format=torch.channels_last)

    with torch.no_grad():
        before = fused(x.clone())
        fused.load_state_dict({name: 2 * value for name, value in fused.state_dict().items()})
        after = fused(x.clone())

    assert not torch.equal(before, after)
    assert torch.allclose(after, block(x.clone()), rtol=0.1, atol=0.1 * float(after.float().std()))


def test_a_fused_network_that_has_run_can_be_copied_and_saved():
    fused = FusedResidualBlock(folded(BLOCKS["bottleneck"]()))
    x = torch.randn(2, 64, 6, 6).to(torch.bfloat16, memory_format=torch.channels_last)

    with torch.no_grad():
        expected = fused(x.clone())
        read = pickle.loads(pickle.dumps(fused))

        assert torch.equal(copy.deepcopy(fused)(x.clone()), expected)
        assert torch.equal(read(x.clone()), expected)


def test_batches_of_another_size_than_the_first_compute_the_same():
    block = folded(BLOCKS["bottleneck"]())
    fused = FusedResidualBlock(block)
    x = torch.randn(8, 64, 12, 12).to(torch.bfloat16, memory_format=torch.channels_last)

    with torch.no_grad():
        fused(x[:1].clone())

        assert torch.equal(fused(x.clone()), FusedResidualBlock(block)(x.clone()))
