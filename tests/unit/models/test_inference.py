import copy
import re

import pytest
import torch
from support.devices import on_a_gpu
from support.tf32 import EmulatedTF32, without_tf32
from torch import nn

import tsn_tsm_plugin
from tsn_tsm_plugin import StreamingTSM, optimize_for_inference
from tsn_tsm_plugin.models import create_tsm, create_tsn

NORMALISATIONS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def with_statistics(model: nn.Module) -> nn.Module:
    """Give normalisations the statistics and weights that training would leave."""
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, NORMALISATIONS):
            module.running_mean.normal_(0.0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
            nn.init.uniform_(module.weight, 0.5, 1.0, generator=generator)
            nn.init.normal_(module.bias, 0.0, 0.1, generator=generator)
    return model.eval()


def created(create=create_tsm, **options) -> nn.Module:
    torch.manual_seed(0)
    options = {"backbone": "resnet18", "num_segments": 4, "fc_init_std": 1.0} | options
    return with_statistics(create(num_classes=16, **options))


def num_normalisations(model: nn.Module) -> int:
    return sum(isinstance(module, NORMALISATIONS) for module in model.modules())


@torch.no_grad()
def deviation(model: nn.Module, optimized: nn.Module, video: torch.Tensor) -> float:
    """Return the largest difference of the scores in units of their standard deviation."""
    expected = model(video)
    return float((optimized(video) - expected).abs().max() / expected.std())


@pytest.mark.parametrize(
    ("create", "options", "num_left"),
    [
        (create_tsm, {"backbone": "resnet18"}, 0),
        (create_tsm, {"causal": True}, 0),
        (create_tsm, {"temporal_pool": True}, 0),
        (create_tsm, {"shift_place": "block"}, 0),
        (create_tsm, {"non_local": ("dot_product", ["layer2.0"])}, 0),
        (create_tsm, {"backbone": "mobilenet_v2"}, 0),
        (create_tsm, {"backbone": "mobileone_s4"}, 0),
        (create_tsm, {"backbone": "timm/resnet18"}, 0),
        (create_tsm, {"backbone": "torchvision/resnet18"}, 0),
        # Only the stem's and the second of each of the 78 layers follow a convolution that nothing else sees.
        (create_tsn, {"backbone": "densenet161"}, 161 - 79),
        (create_tsn, {"backbone": "timm/efficientnet_b0"}, 0),
        (create_tsn, {"backbone": "timm/resnetv2_50"}, 50 - 33),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_normalisations_are_folded_and_the_scores_stay(create, options, num_left):
    model = created(create, **options).double()  # so that rounding does not hide a wrong fold

    optimized = optimize_for_inference(model)

    assert num_normalisations(model) > num_left
    assert num_normalisations(optimized) == num_left
    assert deviation(model, optimized, torch.randn(2, 3, 4, 32, 32).double()) < 1e-8


def test_in_float32_a_resnet50_scores_within_the_stated_tolerance(device):
    model = created(backbone="resnet50").to(device)
    video = torch.randn(2, 3, 4, 64, 64, device=device)

    with without_tf32():
        assert deviation(model, optimize_for_inference(model), video) < 1e-4


def test_in_tf32_the_same_network_is_as_far_as_stated_from_itself():
    model = created(backbone="resnet50")
    with EmulatedTF32() as gpu:
        apart = deviation(model, optimize_for_inference(model), torch.randn(2, 3, 4, 64, 64))

    assert 5e-4 < apart < 5e-3
    assert gpu.num_convolutions == 2 * 53


@on_a_gpu
def test_with_tf32_if_the_gpu_has_it_a_resnet50_scores_within_the_stated_tolerance(device):
    model = created(backbone="resnet50").to(device)

    assert deviation(model, optimize_for_inference(model), torch.randn(2, 3, 4, 64, 64, device=device)) < 5e-3


def test_swin_which_has_nothing_to_fold_is_returned_as_a_copy():
    model = created(create_tsn, backbone="timm/swin_tiny_patch4_window7_224", num_segments=1)

    optimized = optimize_for_inference(model)

    expected = model.state_dict()
    assert optimized is not model
    assert optimized.state_dict().keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in optimized.state_dict().items())


def test_the_model_that_was_given_can_train_on():
    model = created().train()
    before = copy.deepcopy(model.state_dict())

    optimized = optimize_for_inference(model)

    assert model.training
    assert not optimized.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_copy_keeps_the_class_and_is_channels_last():
    optimized = optimize_for_inference(created())

    assert type(optimized) is type(created())
    assert optimized.view_average == "probabilities"
    assert optimized.backbone.layer1[0].conv2.weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 0.1), (torch.float16, 0.02)])
def test_narrow_weights_give_float32_scores_close_to_the_original(dtype, tolerance, device):
    model = created().to(device)

    optimized = optimize_for_inference(model, dtype=dtype)
    video = torch.randn(2, 3, 4, 64, 64, device=device)

    assert optimized.backbone.conv1.weight.dtype == dtype
    assert optimized(video).dtype == torch.float32
    assert 0.0 < deviation(model, optimized, video) < tolerance  # 8 and 11 bits of precision in 20 layers


def test_a_stream_of_frames_runs_on_narrow_weights(device):
    model = created(causal=True).to(device)
    stream = StreamingTSM(optimize_for_inference(model, dtype=torch.bfloat16))
    video = torch.randn(1, 3, 4, 64, 64, device=device)

    scores = torch.stack([stream(video[:, :, t]) for t in range(4)]).mean(0)

    assert scores.dtype == torch.float32
    assert deviation(model, lambda _: scores, video) < 0.1


class Branches(nn.Module):
    """Convolutions whose normalisation must stay, beside one that is folded."""

    def __init__(self) -> None:
        super().__init__()
        self.seen_twice, self.twice, self.shared, self.folded = (nn.Conv2d(4, 4, 1) for _ in range(4))
        self.norm_a, self.norm_b, self.norm_c, self.norm_d = (nn.BatchNorm2d(4) for _ in range(4))

    def forward(self, x):
        once = self.seen_twice(x)
        x = self.norm_a(once) + once
        x = self.norm_b(self.twice(self.twice(x)))
        x = self.norm_c(self.shared(x)) + self.norm_c(x)
        return self.norm_d(self.folded(x))


def test_a_normalisation_stays_if_another_call_sees_the_convolution_or_it_runs_twice():
    model = with_statistics(Branches())
    x = torch.randn(2, 4, 5, 5)

    optimized = optimize_for_inference(model, example=x)

    kept = {name: isinstance(module, NORMALISATIONS) for name, module in optimized.named_children()}
    assert (kept["norm_a"], kept["norm_b"], kept["norm_c"], kept["norm_d"]) == (True, True, True, False)
    torch.testing.assert_close(optimized(x), model(x))


def test_a_convolution_that_standardises_its_weight_is_left_alone():
    from timm.layers import StdConv2d

    model = with_statistics(nn.Sequential(StdConv2d(4, 4, 1), nn.BatchNorm2d(4)))

    assert num_normalisations(optimize_for_inference(model, example=torch.randn(1, 4, 5, 5))) == 1


def test_a_network_of_another_kind_needs_an_example():
    with pytest.raises(ValueError, match="example must be given for a Sequential"):
        optimize_for_inference(nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)))


def test_other_dtypes_are_refused():
    with pytest.raises(ValueError, match=re.escape("got torch.int8.")):
        optimize_for_inference(created(), dtype=torch.int8)


def test_if_the_compiler_fails_a_warning_reports_it_and_the_network_still_runs(monkeypatch, caplog):
    def failing(model, options):
        raise RuntimeError("no compiler found\nand more")

    monkeypatch.setattr(torch, "compile", failing)
    model = created()

    optimized = optimize_for_inference(model, compile=True)

    assert "torch.compile does not work here (RuntimeError: no compiler found)" in caplog.text
    assert deviation(model, optimized, torch.randn(1, 3, 4, 64, 64)) < 1e-4


def test_what_is_compiled_is_the_folded_network(monkeypatch):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda model, options: compiled.append(model) or model)

    optimize_for_inference(created(), compile=True)

    assert num_normalisations(compiled[0]) == 0


def test_it_is_a_public_name():
    assert tsn_tsm_plugin.optimize_for_inference is optimize_for_inference
    assert "optimize_for_inference" in tsn_tsm_plugin.__all__
