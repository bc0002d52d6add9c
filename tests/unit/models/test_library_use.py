"""Networks as others use them: weights as vectors, pruning, second-order optimisers, refused compilers."""

import pytest
import torch
from torch.nn.utils import parameters_to_vector, prune

from tsn_tsm_plugin.errors import ConfigError
from tsn_tsm_plugin.models import create_tsm, create_tsn


@pytest.fixture(params=[create_tsn, create_tsm], ids=["tsn", "tsm"])
def model(request):
    return request.param(backbone="resnet18", num_classes=3, num_segments=2)


def test_weights_and_gradients_are_vectors(model):
    assert parameters_to_vector(model.parameters()).numel() == sum(p.numel() for p in model.parameters())

    model(torch.rand(1, 3, 2, 32, 32)).sum().backward()

    assert all(p.grad.view(-1).numel() == p.numel() for p in model.parameters())


def test_weights_can_be_pruned(model):
    prune.global_unstructured(
        [(m, "weight") for m in model.modules() if isinstance(m, torch.nn.Conv2d)],
        pruning_method=prune.L1Unstructured,
        amount=0.5,
    )

    assert model(torch.rand(1, 3, 2, 32, 32)).shape == (1, 3)


def test_lbfgs_takes_a_step(model):
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=1)

    def closure():
        optimizer.zero_grad()
        loss = model.train()(torch.rand(1, 3, 2, 32, 32)).square().sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).isfinite()


@pytest.mark.parametrize("compiler", [torch.jit.script, torch.fx.symbolic_trace])
def test_compilers_that_cannot_work_are_refused_with_the_one_that_does(model, compiler):
    with pytest.raises(ConfigError, match=r"use torch\.export\.export\(model"):
        compiler(model)
