import re

import pytest
import torch
from support.devices import on_a_gpu
from support.tf32 import without_tf32
from torch import nn

from tsn_tsm_plugin.layers.memory_format import to_channels_last
from tsn_tsm_plugin.models import StreamingTSM, create_tsm, create_tsn
from tsn_tsm_plugin.models.streaming.streaming_shift import StreamingShift
from tsn_tsm_plugin.models.streaming.streaming_tsm import StreamingStep

CAUSAL_BACKBONES = [
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "resnext101_32x4d",
    "mobilenet_v2",
    "mobileone_s4",
    "timm/regnetx_002",
]


def causal_tsm(backbone: str = "resnet18", *, num_segments: int = 4, **options) -> torch.nn.Module:
    """A causal TSM whose every parameter and statistic is random, so that no path is silent."""
    model = create_tsm(
        backbone=backbone, num_classes=5, num_segments=num_segments, causal=True, **options
    ).eval()
    generator = torch.Generator().manual_seed(0)
    for name, value in model.state_dict().items():
        if name.endswith("running_var") or (value.ndim == 1 and name.endswith("weight")):
            value.uniform_(0.5, 1.0, generator=generator)
        elif name.endswith(("bias", "running_mean")):
            value.normal_(0, 0.1, generator=generator)
        elif value.ndim > 1:
            value.normal_(0, value[0].numel() ** -0.5, generator=generator)
    # As the tools lay it out: one frame and many take the same convolutions then.
    return to_channels_last(model)


def frames_of(num_frames: int, *, batch: int = 1, size: int = 32) -> torch.Tensor:
    """(T, B, 3, H, W)"""
    return torch.randn(num_frames, batch, 3, size, size, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def batched_frame_scores(model: torch.nn.Module, frames: torch.Tensor) -> torch.Tensor:
    """(T, B, K): what the causal model computes for each frame of a clip, before its head averages them."""
    num_frames, batch = frames.shape[:2]
    features = model.backbone(frames.transpose(0, 1).flatten(0, 1))
    per_frame = model.head(features[:, :, None])
    return per_frame.unflatten(0, (batch, num_frames)).transpose(0, 1)


@pytest.mark.parametrize(
    ("backbone", "shift_place"),
    [
        *((backbone, "blockres") for backbone in CAUSAL_BACKBONES),
        ("resnet18", "block"),
        ("resnet50", "block"),
    ],
)
def test_a_stream_gives_frame_by_frame_what_the_causal_model_gives_for_the_clip(backbone, shift_place):
    model = causal_tsm(backbone, shift_place=shift_place)
    assert_a_stream_gives_the_same(model, frames_of(4, batch=2), tolerance=2e-5)


@on_a_gpu
@pytest.mark.parametrize(("backbone", "shift_place"), [("resnet18", "blockres"), ("resnet50", "block")])
def test_a_stream_on_a_gpu_gives_what_the_model_gives_for_the_clip(backbone, shift_place, device):
    model = causal_tsm(backbone, shift_place=shift_place).to(device)
    with without_tf32():
        assert_a_stream_gives_the_same(model, frames_of(4, batch=2).to(device), tolerance=1e-3)


def assert_a_stream_gives_the_same(model, frames, *, tolerance):
    """Compare scores frame by frame, up to a share of their deviation: the same sums in another order."""
    expected = batched_frame_scores(model, frames)
    stream = StreamingTSM(model)
    scores = torch.stack([stream(frame) for frame in frames])
    torch.testing.assert_close(scores, expected, atol=tolerance * float(expected.std()), rtol=0)
    assert float(expected.std(0).max()) > 100 * tolerance * float(expected.std()), "the frames must differ"


def test_the_mean_of_the_scores_of_a_clip_is_the_score_of_the_causal_model():
    model, frames = causal_tsm(), frames_of(4)
    stream = StreamingTSM(model, average_frames=4)
    for frame in frames:
        scores = stream(frame)
    with torch.no_grad():
        torch.testing.assert_close(scores, model(frames.permute(1, 2, 0, 3, 4)), atol=1e-4, rtol=1e-5)


def test_the_past_matters_and_the_future_does_not():
    model, frames = causal_tsm(), frames_of(3)
    changed = frames.clone()
    changed[1] += 1
    stream = StreamingTSM(model)
    first = [stream(frame) for frame in frames]
    stream.reset()
    second = [stream(frame) for frame in changed]
    torch.testing.assert_close(first[0], second[0], atol=0, rtol=0)
    assert not torch.allclose(first[2], second[2])


def test_reset_makes_the_next_frame_a_first_frame():
    stream, frames = StreamingTSM(causal_tsm()), frames_of(2)
    first = stream(frames[0])
    stream(frames[1])
    stream.reset()
    torch.testing.assert_close(stream(frames[0]), first, atol=0, rtol=0)


def test_a_mask_resets_some_streams_and_leaves_the_others():
    stream, frames = StreamingTSM(causal_tsm(), average_frames=3), frames_of(3, batch=2)
    alone = StreamingTSM(causal_tsm(), average_frames=3)
    for frame in frames[:2]:
        stream(frame), alone(frame)
    stream.reset(torch.tensor([True, False]))
    scores, undisturbed = stream(frames[2]), alone(frames[2])
    alone.reset()
    # A batch of two and a batch of one may take different kernels.
    torch.testing.assert_close(scores[0], alone(frames[2])[0], atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(scores[1], undisturbed[1], atol=0, rtol=0)


def test_a_stream_goes_on_from_its_state_dict_in_another_process_that_has_seen_no_frame():
    frames = frames_of(3, batch=2)
    stream = StreamingTSM(causal_tsm(), average_frames=2, min_consecutive=2)
    for frame in frames[:2]:
        stream(frame)
    other = StreamingTSM(causal_tsm(), average_frames=2, min_consecutive=2)
    other.load_state_dict(stream.state_dict())
    torch.testing.assert_close(other(frames[2]), stream(frames[2]), atol=0, rtol=0)
    assert torch.equal(other.label, stream.label)


def test_loading_the_state_dict_of_a_fresh_stream_forgets_the_past():
    frames = frames_of(2)
    fresh, stream = StreamingTSM(causal_tsm()), StreamingTSM(causal_tsm())
    stream(frames[0])
    stream.load_state_dict(fresh.state_dict())
    torch.testing.assert_close(stream(frames[1]), fresh(frames[1]), atol=0, rtol=0)


def test_the_state_moves_with_the_module():
    stream = StreamingTSM(causal_tsm())
    stream(frames_of(1)[0])
    stream.to(torch.float64)
    assert {value.dtype for value in stream.state.values()} == {torch.float64}
    assert stream(frames_of(1)[0].double()).dtype == torch.float64


def test_the_state_is_one_fold_per_shifted_site_in_memory_of_its_own():
    stream = StreamingTSM(causal_tsm("resnet50"))
    assert stream.state == {}
    stream(frames_of(1, batch=2, size=64)[0])
    shapes = {name: tuple(value.shape) for name, value in stream.state.items()}
    assert list(shapes) == stream.step.state_names and len(shapes) == 16
    assert shapes["layer1.0.conv1"] == (2, 8, 16, 16)
    assert shapes["layer4.2.conv1"] == (2, 256, 2, 2)
    assert {name: shape[1:] for name, shape in shapes.items()} == stream.state_shapes(64, 64)
    for value in stream.state.values():
        assert value.untyped_storage().nbytes() == 4 * value.numel()


@pytest.mark.parametrize(
    ("backbone", "num_values"),
    # The published rule, one eighth of the input of each shifted convolution, counted by hand.
    [
        ("resnet18", 116_032),
        ("resnet34", 194_432),
        ("resnet50", 702_464),
        ("resnet101", 639_744),
        ("mobilenet_v2", 27_048),
    ],
)
def test_the_state_at_224_has_the_size_that_the_rule_gives(backbone, num_values):
    shapes = StreamingTSM(create_tsm(backbone=backbone, causal=True)).state_shapes(224, 224)
    assert sum(fold * height * width for fold, height, width in shapes.values()) == num_values


def test_asking_for_the_shapes_disturbs_no_stream():
    stream, frames = StreamingTSM(causal_tsm()), frames_of(2)
    other = StreamingTSM(causal_tsm())
    for frame in frames:
        stream.state_shapes(224, 224)
        torch.testing.assert_close(stream(frame), other(frame), atol=0, rtol=0)


def test_the_model_given_is_left_as_it_is():
    model = causal_tsm()
    names = list(model.state_dict())
    model.train()
    StreamingTSM(model)(frames_of(1)[0])
    assert list(model.state_dict()) == names and model.training


@pytest.mark.parametrize("net", [nn.Identity(), nn.Conv2d(16, 16, 1), nn.ReLU()])
def test_the_features_that_a_shift_was_given_are_left_as_they_are(net):
    eager, recorded = StreamingShift(net, shift_div=8), StreamingShift(net, shift_div=8)
    for seed in range(3):
        features = torch.randn(2, 16, 4, 4, generator=torch.Generator().manual_seed(seed))
        given = features.clone()
        with torch.no_grad():
            shown = eager(features)
        assert torch.equal(features, given)
        # With gradients on, the shift copies instead of lending.
        assert torch.equal(shown, recorded(features)) and torch.equal(eager.previous, recorded.previous)


def test_features_are_whole_again_after_an_error_in_the_network():
    class Failing(nn.Module):
        def forward(self, x):
            raise RuntimeError("out of luck")

    features = torch.arange(16.0).view(1, 16, 1, 1)
    with torch.no_grad(), pytest.raises(RuntimeError, match="out of luck"):
        StreamingShift(Failing(), shift_div=8)(features)
    assert features.flatten().tolist() == list(range(16))


def test_a_stream_takes_frames_from_inference_mode():
    model = causal_tsm()
    with torch.inference_mode():
        frame = frames_of(1)[0] * 1
    shift = StreamingShift(nn.Identity(), shift_div=8)
    with torch.no_grad():
        shift(torch.zeros(1, 8, 2, 2)), StreamingTSM(model)(frame)
    with torch.inference_mode():
        features = torch.ones(1, 8, 2, 2)
    with torch.no_grad():
        assert shift(features)[0, :, 0, 0].tolist() == [0.0] + [1.0] * 7


def test_a_stream_stays_in_eval_mode():
    stream = StreamingTSM(causal_tsm(dropout_rate=0.9)).train()
    frame = frames_of(1)[0]
    first = stream(frame)
    stream.reset()
    torch.testing.assert_close(stream(frame), first, atol=0, rtol=0)


def test_the_step_as_a_function_gives_the_same_and_keeps_nothing():
    model, frames = causal_tsm(), frames_of(3, batch=2)
    stream, step = StreamingTSM(model), StreamingStep(model)
    state = [torch.zeros(2, *shape) for shape in step.state_shapes(32, 32).values()]
    with torch.no_grad():
        for frame in frames:
            scores, *state = step(frame, *state)
            torch.testing.assert_close(scores, stream(frame), atol=0, rtol=0)
    assert all(shift.previous is None for shift in step.shifts())


def test_a_wrong_number_of_state_tensors_is_refused():
    with pytest.raises(ValueError, match="state must be 8 tensors .*got 1"):
        StreamingStep(causal_tsm())(frames_of(1)[0], torch.zeros(1))


@pytest.mark.parametrize(
    ("create", "message"),
    [
        (
            lambda: create_tsm(backbone="resnet18"),
            "These weights use future frames.*Train with TSM.CAUSAL True",
        ),
        (
            lambda: create_tsm(backbone="resnet18", causal=True, temporal_pool=True),
            "needs TSM.TEMPORAL_POOL False",
        ),
        (
            lambda: create_tsm(backbone="resnet18", causal=True, head="tsn"),
            "needs the head of TSM, which scores each frame separately",
        ),
    ],
)
def test_a_model_that_needs_the_next_frame_is_refused_with_the_reason(create, message):
    with pytest.raises(ValueError, match=message):
        StreamingTSM(create())


def test_non_local_blocks_are_refused_by_name():
    model = create_tsm(backbone="resnet50", causal=True, non_local="dot_product")
    with pytest.raises(ValueError, match="layer2.0.*which see whole clips"):
        StreamingTSM(model)


def test_a_module_that_sees_whole_clips_is_refused_by_name():
    model = causal_tsm()
    model.backbone.layer2[0].num_segments = 4
    with pytest.raises(ValueError, match=re.escape("['layer2.0'], which see whole clips")):
        StreamingTSM(model)


def test_a_tsn_is_refused():
    with pytest.raises(TypeError, match=re.escape("must be a TSM from create_tsm(causal=True), got TSN")):
        StreamingTSM(create_tsn(backbone="resnet18"))


def test_frames_of_another_number_or_size_are_refused_until_a_reset():
    stream = StreamingTSM(causal_tsm())
    stream(frames_of(1)[0])
    with pytest.raises(ValueError, match=re.escape("Call reset() before the change")):
        stream(frames_of(1, size=64)[0])
    with pytest.raises(ValueError, match=re.escape("Call reset() before the change")):
        stream(frames_of(1, batch=2)[0])
    stream.reset()
    assert stream(frames_of(1, batch=2, size=64)[0]).shape == (2, 5)


def test_a_clip_in_place_of_a_frame_is_refused():
    with pytest.raises(ValueError, match=re.escape("one frame of each stream, (B, 3, H, W)")):
        StreamingTSM(causal_tsm())(torch.zeros(1, 3, 4, 32, 32))
