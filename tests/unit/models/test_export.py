"""`torch.export` files against the networks they were made of; for ONNX see test_export_tool.py."""

import pytest
import torch
from support.exported import run_exported

from tsn_tsm_plugin.models import StreamingTSM, create_tsm, create_tsn
from tsn_tsm_plugin.models.deploy.export import (
    ExportPlan,
    export,
    plan_clip_export,
    plan_stream_export,
    trace,
)

SIZE = 32
MEAN, STD = (120.0, 110.0, 100.0), (50.0, 60.0, 70.0)


def created(create=create_tsm, *, backbone: str = "resnet18", **options) -> torch.nn.Module:
    return create(backbone=backbone, num_classes=5, num_segments=4, fc_init_std=1.0, **options).eval()


def assert_equal_on_two_inputs(model: torch.nn.Module, plan: ExportPlan, path) -> None:
    for seed, batch in ((0, 1), (1, 3)):
        video = torch.randn(batch, 3, 4, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))
        with torch.no_grad():
            expected = model(video)
        (scores,) = run_exported(path, {"video": video})
        torch.testing.assert_close(scores, expected, atol=1e-4, rtol=1e-4)
    assert plan.outputs == ["scores"]


@pytest.mark.parametrize(
    ("create", "options"),
    [
        (create_tsn, {}),
        (create_tsm, {}),
        (create_tsm, {"causal": True}),
        (create_tsm, {"temporal_pool": True}),
        (create_tsm, {"non_local": ("embedded_gaussian", ["layer2.0"])}),
    ],
)
def test_the_file_scores_as_the_network_for_any_batch(create, options, tmp_path):
    model = created(create, **options)
    plan = plan_clip_export(model, num_frames=4, size=SIZE)
    export(plan, tmp_path / "m.pt2", form="torch_export")
    assert_equal_on_two_inputs(model, plan, tmp_path / "m.pt2")


def test_the_order_of_frames_matters_in_the_file_too(tmp_path):
    model = created()
    export(plan_clip_export(model, num_frames=4, size=SIZE), tmp_path / "m.pt2", form="torch_export")
    video = torch.randn(1, 3, 4, SIZE, SIZE)
    forwards, backwards = (run_exported(tmp_path / "m.pt2", {"video": v})[0] for v in (video, video.flip(2)))
    assert not torch.allclose(forwards, backwards, rtol=1e-3)


def test_with_the_normalisation_inside_the_file_takes_pixels(tmp_path):
    model = created()
    plan = plan_clip_export(model, num_frames=4, size=SIZE, mean=MEAN, std=STD)
    export(plan, tmp_path / "m.pt2", form="torch_export")
    pixels = torch.randint(0, 256, (3, 3, 4, SIZE, SIZE), dtype=torch.uint8)
    mean, std = (torch.tensor(values).view(3, 1, 1, 1) for values in (MEAN, STD))
    with torch.no_grad():
        expected = model((pixels - mean) / std)
    (scores,) = run_exported(tmp_path / "m.pt2", {"video": pixels})
    torch.testing.assert_close(scores, expected, atol=1e-3, rtol=1e-3)


def test_the_step_of_a_stream_goes_in_the_file_as_the_stream_goes(tmp_path):
    model = created(backbone="mobilenet_v2", causal=True)
    plan = plan_stream_export(model, size=SIZE)
    export(plan, tmp_path / "m.pt2", form="torch_export")
    program = torch.export.load(tmp_path / "m.pt2").module()
    stream = StreamingTSM(model)
    state = [torch.zeros(3, *value.shape[1:]) for name, value in plan.inputs.items() if name != "frame"]
    for seed in range(3):
        frame = torch.randn(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))
        scores, *state = program(frame, *state)
        torch.testing.assert_close(scores, stream(frame), atol=1e-4 * float(scores.abs().max()), rtol=1e-4)


def test_the_state_has_a_name_for_each_site_going_in_and_coming_out():
    plan = plan_stream_export(created(causal=True), size=SIZE)
    assert list(plan.inputs)[:2] == ["frame", "state.layer1.0.conv1"]
    assert plan.outputs[:2] == ["scores", "next.layer1.0.conv1"]
    assert len(plan.inputs) == len(plan.outputs) == 9


def test_a_network_that_looks_ahead_has_no_step_to_export():
    with pytest.raises(ValueError, match="A stream needs a causal TSM"):
        plan_stream_export(created(), size=SIZE)


def test_the_shift_is_in_the_graph_as_concatenation_and_not_as_assignment():
    graph = trace(plan_clip_export(created(), num_frames=4, size=SIZE)).graph
    names = {str(node.target) for node in graph.nodes}
    assert "aten.cat.default" in names
    assert not {name for name in names if "copy_" in name or "scatter" in name or "index_put" in name}


def test_another_form_is_refused():
    plan = plan_clip_export(created(), num_frames=4, size=SIZE)
    with pytest.raises(ValueError, match="form must be one of torch_export, onnx, got 'tensorrt'"):
        export(plan, "m.trt", form="tensorrt")
