"""A compiled step: one graph of forward pass and loss, compiled once, and the same step as without."""

import copy
import functools
import shutil

import pytest
import support.runs  # noqa: F401  # It registers the backbone "tiny".
import torch
from torch import nn

from tsn_tsm_plugin.engine.optimizer_step import ForwardAndLoss, OptimizerStep
from tsn_tsm_plugin.models import create_tsm, create_tsn
from tsn_tsm_plugin.models.deploy.compile import Compiled
from tsn_tsm_plugin.solver.losses import cross_entropy
from tsn_tsm_plugin.transforms.normalize import Normalize

CPU = torch.device("cpu")
compile_with = torch.compile


def created(create=create_tsm, **options) -> nn.Module:
    torch.manual_seed(0)
    options = {"backbone": "resnet18", "num_classes": 3, "num_segments": 2, "dropout_rate": 0.0, **options}
    return create(**options).train()


def batch_of(num_clips: int) -> dict:
    generator = torch.Generator().manual_seed(1)
    video = torch.randint(0, 256, (num_clips, 3, 2, 32, 32), generator=generator, dtype=torch.uint8)
    return {"video": video, "label": torch.arange(num_clips) % 3}


@pytest.mark.parametrize("precision", ["off", "bf16"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"causal": True},
        {"shift_place": "block"},
        {"non_local": ("dot_product", ["layer2.0"])},
        {"create": create_tsn},
    ],
    ids=lambda options: next(iter(options), "shift"),
)
def test_normalisation_forward_pass_and_loss_are_one_graph(options, precision):
    torch._dynamo.reset()
    graph = ForwardAndLoss(
        created(**options),
        Normalize([128.0] * 3, [64.0] * 3),
        cross_entropy(label_smoothing=0.1),
        precision=precision,
        device=CPU,
    )
    batch = batch_of(2)
    explained = torch._dynamo.explain(graph)(batch["video"], batch["label"])

    assert explained.graph_break_count == 0, explained.break_reasons
    assert explained.graph_count == 1


def test_a_smaller_batch_is_not_compiled_anew(monkeypatch):
    sizes = []

    def backend(graph, inputs):
        sizes.append([len(x) for x in inputs if isinstance(x, torch.Tensor) and x.ndim == 5])
        return graph

    monkeypatch.setattr(torch, "compile", functools.partial(compile_with, backend=backend))
    torch._dynamo.reset()
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 1))
    call = Compiled(network, num_clips=4)
    for num_clips in (3, 4, 4, 1, 4):
        video = torch.rand(num_clips, 3, 1, 2, 2)
        torch.testing.assert_close(call(video), network(video))
    assert sizes == [[4]]


def updated(model: nn.Module, *, compile_mode: str) -> nn.Module:
    step = OptimizerStep(
        model,
        torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, fused=True),
        normalize=Normalize([128.0] * 3, [64.0] * 3),
        device=CPU,
        max_clips_per_forward=2,
        compile_mode=compile_mode,
        clips_per_step=4,
    )
    for num_clips in (4, 3, 4):
        step(batch_of(num_clips), num_clips=num_clips)
    return model


def assert_same_steps(*, backbone: str = "resnet18", **options) -> None:
    plain = created(backbone=backbone)
    compiled = updated(copy.deepcopy(plain), **options)
    updated(plain, compile_mode="")
    for (name, mine), theirs in zip(compiled.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-5, msg=name)


def test_compiled_steps_are_those_without(monkeypatch):
    torch._dynamo.reset()
    monkeypatch.setattr(torch, "compile", functools.partial(compile_with, backend="eager"))
    assert_same_steps(compile_mode="default")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")
@pytest.mark.parametrize("mode", ["default", "reduce-overhead"])
def test_steps_through_inductor_are_those_without(mode, caplog):
    torch._dynamo.reset()
    assert_same_steps(backbone="tiny", compile_mode=mode)
    assert "torch.compile does not work here" not in caplog.text
