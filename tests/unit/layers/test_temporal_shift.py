import gc
import re
import weakref

import pytest
import torch

from tsn_tsm_plugin.layers import TemporalShift, temporal_shift


def clip_of_frame_numbers(*, num_channels: int, num_frames: int, size: int = 1) -> torch.Tensor:
    """Make (1, C, T, H, W) whose value is the number of the frame, counted from 1."""
    numbers = torch.arange(1.0, num_frames + 1).reshape(1, 1, -1, 1, 1)
    return numbers.expand(1, num_channels, num_frames, size, size).clone()


def test_each_fold_carries_its_neighbour_and_the_rest_stays():
    shifted_CT = temporal_shift(clip_of_frame_numbers(num_channels=8, num_frames=4))[0, :, :, 0, 0]

    assert shifted_CT[0].tolist() == [2, 3, 4, 0]  # next frame, zero after the end
    assert shifted_CT[1].tolist() == [0, 1, 2, 3]  # previous frame, zero before the start
    assert shifted_CT[2:].unique(dim=0).tolist() == [[1, 2, 3, 4]]


def test_causal_shift_brings_in_the_past_on_the_first_fold_only():
    clip = clip_of_frame_numbers(num_channels=8, num_frames=4)

    shifted_CT = temporal_shift(clip, causal=True)[0, :, :, 0, 0]

    assert shifted_CT[0].tolist() == [0, 1, 2, 3]
    assert shifted_CT[1:].unique(dim=0).tolist() == [[1, 2, 3, 4]]


@pytest.mark.parametrize(
    ("num_channels", "shift_div", "fold"), [(64, 8, 8), (24, 8, 3), (27, 8, 3), (16, 4, 4)]
)
def test_a_fold_is_the_integer_part_of_channels_over_shift_div(num_channels, shift_div, fold):
    clip = clip_of_frame_numbers(num_channels=num_channels, num_frames=2)

    shifted_CT = temporal_shift(clip, shift_div=shift_div)[0, :, :, 0, 0]

    first_frame = [2.0] * fold + [0.0] * fold + [1.0] * (num_channels - 2 * fold)
    assert shifted_CT[:, 0].tolist() == first_frame


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_folded_frames_shift_like_the_clip_and_keep_their_memory_format(causal, memory_format):
    clips_BCTHW = torch.randn(3, 16, 5, 4, 6)
    frames = clips_BCTHW.transpose(1, 2).flatten(0, 1).contiguous(memory_format=memory_format)

    shifted = temporal_shift(frames, num_segments=5, causal=causal)

    expected = temporal_shift(clips_BCTHW, causal=causal).transpose(1, 2).flatten(0, 1)
    assert torch.equal(shifted, expected)
    assert shifted.is_contiguous(memory_format=memory_format)


def test_a_channels_last_clip_stays_channels_last():
    clip = torch.randn(2, 16, 4, 5, 6)
    channels_last = clip.contiguous(memory_format=torch.channels_last_3d)

    shifted = temporal_shift(channels_last)

    assert torch.equal(shifted, temporal_shift(clip))
    assert shifted.is_contiguous(memory_format=torch.channels_last_3d)


def test_the_input_is_not_modified():
    clip = torch.randn(1, 8, 4, 2, 2)
    before = clip.clone()

    temporal_shift(clip).mul_(2)

    assert torch.equal(clip, before)


def test_videos_of_a_batch_do_not_mix():
    first, second = torch.randn(2, 1, 8, 3, 2, 2).unbind()

    together = temporal_shift(torch.cat([first, second]))

    assert torch.equal(together, torch.cat([temporal_shift(first), temporal_shift(second)]))


def test_the_gradient_flows_back_to_the_frame_that_was_seen():
    clip = torch.randn(1, 8, 3, 1, 1, requires_grad=True)

    temporal_shift(clip)[0, 0, 0].sum().backward()  # first fold of frame 0 shows frame 1

    assert clip.grad[0, 0, :, 0, 0].tolist() == [0, 1, 0]


def test_gradcheck_in_double_precision():
    clip = torch.randn(2, 4, 3, 1, 2, dtype=torch.float64, requires_grad=True)

    assert torch.autograd.gradcheck(lambda x: temporal_shift(x, shift_div=3), clip)


def test_one_frame_sees_zeros_on_both_sides():
    shifted = temporal_shift(clip_of_frame_numbers(num_channels=8, num_frames=1))

    assert shifted.flatten().tolist() == [0, 0, 1, 1, 1, 1, 1, 1]


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((6, 8, 2, 2), {"num_segments": 4}, "must be a multiple of num_segments=4, got 6"),
        ((6, 8, 2, 2), {}, "give num_segments= of each"),
        ((1, 8, 6, 2, 2), {"num_segments": 4}, "x has T=6 frames"),
        ((8, 2, 2), {"num_segments": 4}, "must be (B, C, T, H, W) or (B*T, C, H, W), got shape (8, 2, 2)"),
        ((1, 3, 4, 2, 2), {"shift_div": 8}, "shift_div must be in [2, C=3], got 8"),
        ((1, 8, 4, 2, 2), {"shift_div": 1}, "shift_div must be in [2, C=8], got 1"),
    ],
)
def test_a_shape_that_does_not_fit_is_refused(shape, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        temporal_shift(torch.zeros(shape), **options)


def test_the_module_shifts_and_then_applies_what_it_wraps():
    frames = torch.randn(8, 16, 3, 3)
    convolution = torch.nn.Conv2d(16, 4, 1)

    module = TemporalShift(convolution, num_segments=4)

    assert torch.equal(module(frames), convolution(temporal_shift(frames, num_segments=4)))
    assert sorted(module.state_dict()) == ["net.bias", "net.weight"]


def test_the_exported_program_shifts():
    module = TemporalShift(num_segments=4)
    frames = torch.randn(8, 16, 3, 3)

    exported = torch.export.export(module, (frames,)).module()

    assert torch.equal(exported(frames), module(frames))


def shifted_by_slices(clip: torch.Tensor, causal: bool) -> torch.Tensor:
    """Shift (B, C, T, H, W), a quarter of the channels each way, so that autograd finds the derivative."""
    fold = clip.shape[1] // 4
    zeros = torch.zeros_like(clip[:, :fold, :1])
    if causal:
        return torch.cat([torch.cat([zeros, clip[:, :fold, :-1]], 2), clip[:, fold:]], 1)
    following = torch.cat([clip[:, :fold, 1:], zeros], 2)
    previous = torch.cat([zeros, clip[:, fold : 2 * fold, :-1]], 2)
    return torch.cat([following, previous, clip[:, 2 * fold :]], 1)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last_3d])
def test_the_gradient_is_the_one_that_autograd_finds(causal, memory_format):
    clip = torch.randn(2, 9, 4, 3, 2).contiguous(memory_format=memory_format).requires_grad_()
    weights = torch.randn(2, 9, 4, 3, 2)

    (grad,) = torch.autograd.grad((temporal_shift(clip, shift_div=4, causal=causal) * weights).sum(), clip)
    (expected,) = torch.autograd.grad((shifted_by_slices(clip, causal) * weights).sum(), clip)

    assert torch.equal(grad, expected)


def test_second_and_forward_derivatives_are_right_too():
    clip = torch.randn(1, 4, 3, 1, 1, dtype=torch.float64, requires_grad=True)

    def squared(x):
        return temporal_shift(x, shift_div=4) ** 2

    assert torch.autograd.gradcheck(squared, clip, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(squared, clip)


def test_the_transforms_of_torch_func_go_through():
    clips = torch.randn(3, 1, 4, 3, 1, 1)

    def energy(clip):
        return (temporal_shift(clip, shift_div=4) ** 3).sum()

    grads = torch.func.vmap(torch.func.grad(energy))(clips)

    expected = [torch.func.grad(energy)(clip) for clip in clips]
    torch.testing.assert_close(grads, torch.stack(expected))


def test_nothing_is_saved_for_the_gradient():
    saved = []
    clip = torch.randn(1, 8, 4, 2, 2, requires_grad=True)

    with torch.autograd.graph.saved_tensors_hooks(lambda x: saved.append(x) or x, lambda x: x):
        temporal_shift(clip)

    assert saved == []


def test_an_exported_shift_in_training_is_made_of_plain_operators():
    clip = torch.randn(1, 8, 4, 2, 2, requires_grad=True)

    program = torch.export.export(TemporalShift(), (clip,))

    targets = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert "aten.cat.default" in targets
    assert all(target.startswith("aten.") for target in targets)


def test_the_shifted_copy_is_not_kept_for_the_backward_pass():
    conv = torch.nn.Conv2d(16, 4, 1, bias=False)
    x = torch.randn(8, 16, 6, 6, requires_grad=True) * 1.0
    shifted = TemporalShift(conv, num_segments=4)
    kept = []

    def remember(module, inputs):
        kept.append(weakref.ref(inputs[0]))

    conv.register_forward_pre_hook(remember)
    out = shifted(x)
    gc.collect()

    assert kept[0]() is None
    out.sum().backward()


def test_gradients_equal_the_gradients_of_a_kept_copy():
    conv = torch.nn.Conv2d(16, 4, 1, bias=False).double()
    x = torch.randn(8, 16, 6, 6, dtype=torch.float64, requires_grad=True)

    TemporalShift(conv, num_segments=4)(x * 1.0).square().sum().backward()
    grads = x.grad.clone(), conv.weight.grad.clone()
    x.grad = conv.weight.grad = None
    conv(temporal_shift(x * 1.0, num_segments=4)).square().sum().backward()

    assert torch.equal(grads[0], x.grad)
    assert torch.equal(grads[1], conv.weight.grad)


def test_second_derivatives_pass_through_the_module():
    net = TemporalShift(torch.nn.Conv2d(8, 3, 1, bias=False), num_segments=2, shift_div=4).double()
    x = torch.randn(4, 8, 2, 2, dtype=torch.float64, requires_grad=True)

    assert torch.autograd.gradgradcheck(lambda x: net(x * 1.0) ** 2, (x,))


def test_an_input_modified_before_the_backward_pass_is_an_error():
    net = TemporalShift(torch.nn.Conv2d(8, 3, 1), num_segments=2)
    x = torch.randn(4, 8, 2, 2, requires_grad=True) * 1.0
    out = net(x)
    with torch.no_grad():
        x.zero_()

    with pytest.raises(RuntimeError, match="was modified in place before"):
        out.sum().backward()


def test_functional_transforms_work_on_the_module():
    net = TemporalShift(torch.nn.Conv2d(8, 3, 1), num_segments=2)
    x = torch.randn(4, 8, 2, 2)

    grads = torch.func.grad(lambda w: torch.func.functional_call(net, w, (x,)).square().sum())(
        dict(net.named_parameters())
    )

    net(x.requires_grad_()).square().sum().backward()
    assert torch.allclose(grads["net.weight"], net.net.weight.grad)
