import itertools
import re

import pytest
import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from tsn_tsm_plugin.layers import NON_LOCAL_KINDS, NonLocal, NonLocalAfter


def trained(dim: int, **options) -> NonLocal:
    """Make a block that is not the identity."""
    torch.manual_seed(0)
    block = NonLocal(dim, **options)
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return block.eval()


def by_the_formula(block: NonLocal, x: torch.Tensor) -> torch.Tensor:
    """Write the affinities of all pairs down, as the paper does (section 3.2)."""
    pool = (lambda y: F.max_pool3d(y, (1, 2, 2))) if block.sub_sample else (lambda y: y)
    theta = (x if block.theta is None else block.theta(x)).flatten(2)
    phi = pool(x if block.phi is None else block.phi(x)).flatten(2)
    affinity = torch.einsum("bdn,bdm->bnm", theta, phi)
    if block.kind == "dot_product":
        weights = affinity / affinity.shape[2]
    elif block.kind == "embedded_gaussian" and block.use_scale:
        weights = (affinity / theta.shape[1] ** 0.5).softmax(2)
    else:
        weights = affinity.softmax(2)
    y = torch.einsum("bnm,bdm->bdn", weights, pool(block.g(x)).flatten(2)).unflatten(2, x.shape[2:])
    return x + block.norm(block.conv_out(y))


@pytest.mark.parametrize(
    ("kind", "use_scale", "sub_sample"),
    list(itertools.product(NON_LOCAL_KINDS, [False, True], [False, True])),
)
def test_the_block_computes_the_formula_of_the_paper(kind, use_scale, sub_sample):
    block = trained(8, kind=kind, use_scale=use_scale, sub_sample=sub_sample).double()
    x = torch.randn(2, 8, 3, 6, 5, dtype=torch.float64)

    torch.testing.assert_close(block(x), by_the_formula(block, x))


@pytest.mark.parametrize("kind", NON_LOCAL_KINDS)
@pytest.mark.parametrize("is_training", [False, True])
def test_a_fresh_block_is_the_identity(kind, is_training):
    x = torch.randn(2, 8, 3, 4, 4)

    assert torch.equal(NonLocal(8, kind=kind).train(is_training)(x), x)


@pytest.mark.parametrize("kind", NON_LOCAL_KINDS)
def test_a_fresh_block_learns(kind):
    block = NonLocal(8, kind=kind)

    block(torch.randn(2, 8, 3, 4, 4)).pow(2).sum().backward()

    assert block.norm.weight.grad.abs().sum() > 0


class LargestTensor(TorchDispatchMode):
    """Remember the size of the largest result of any operation."""

    num_elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for value in torch.utils._pytree.tree_leaves(result):
            if isinstance(value, torch.Tensor):
                self.num_elements = max(self.num_elements, value.numel())
        return result


@pytest.mark.parametrize("kind", NON_LOCAL_KINDS)
def test_no_matrix_of_all_pairs_is_kept(kind):
    block = NonLocal(16, kind=kind)
    x = torch.randn(1, 16, 4, 32, 32, requires_grad=True)
    num_queries, num_keys = 4 * 32 * 32, 4 * 16 * 16

    with LargestTensor() as largest:
        block(x).sum().backward()

    assert largest.num_elements < num_queries * num_keys / 16


@pytest.mark.parametrize("kind", NON_LOCAL_KINDS)
def test_half_precision_comes_close(kind):
    block = trained(8, kind=kind)
    x = torch.randn(1, 8, 2, 4, 4) / 4

    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = block(x)

    torch.testing.assert_close(half.float(), block(x), rtol=0.05, atol=0.05)


@pytest.mark.parametrize("sub_sample", [False, True])
def test_every_position_can_see_every_frame(sub_sample):
    block = trained(8, sub_sample=sub_sample)
    x = torch.randn(1, 8, 4, 4, 4, requires_grad=True)

    block(x)[0, :, 0, 0, 0].sum().backward()

    assert (x.grad[0].abs().sum((0, 2, 3)) > 0).all()


def test_the_wrapper_keeps_videos_apart_and_joins_their_frames():
    module = NonLocalAfter(torch.nn.Identity(), trained(8), num_segments=3)
    frames = torch.randn(6, 8, 4, 4)

    together = module(frames)

    torch.testing.assert_close(together, torch.cat([module(frames[:3]), module(frames[3:])]))
    clips = frames.unflatten(0, (2, 3)).transpose(1, 2)
    torch.testing.assert_close(together, module.non_local(clips).transpose(1, 2).flatten(0, 1))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: NonLocal(8, kind="concatenation"), "kind must be one of embedded_gaussian, gaussian, dot_"),
        (lambda: NonLocal(1), "dim must be at least 2, got 1"),
        (lambda: NonLocal(8)(torch.zeros(2, 4, 3, 2, 2)), "x must be (B, 8, T, H, W), got shape (2, 4, 3"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()
