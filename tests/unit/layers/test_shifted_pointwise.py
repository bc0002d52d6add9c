"""The shift within the convolution against the shift before it: in two steps, and as a kernel."""

from contextlib import nullcontext

import pytest
import torch
from support.devices import on_a_gpu
from support.fresh_process import run_fresh
from support.shifted_cases import SHAPES, case, in_two_steps
from support.tf32 import without_tf32

from tsn_tsm_plugin.layers.shifted_pointwise import shifted_pointwise


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_values_and_gradients_are_those_of_shift_and_convolution(shape, causal):
    how = {"num_segments": shape[5], "shift_div": shape[6], "causal": causal}
    mine, theirs = ([t.requires_grad_() for t in case(shape)] for _ in range(2))
    out, expected = shifted_pointwise(*mine, **how), in_two_steps(*theirs, **how)
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
    (out * weights).sum().backward()
    (expected * weights).sum().backward()

    torch.testing.assert_close(out, expected)
    for tensor, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(tensor.grad, other.grad)


def test_the_derivative_is_right_in_float64_and_the_operator_fits_the_rules_of_pytorch():
    arguments = [t.requires_grad_() for t in case((4, 6, 2, 2, 1, 2, 3), torch.float64)]

    assert torch.autograd.gradcheck(
        lambda *tensors: shifted_pointwise(*tensors, num_segments=2, shift_div=3), arguments
    )
    for bias in (arguments[2], None):
        operator = torch.ops.tsn_tsm_plugin.shifted_pointwise.default
        torch.library.opcheck(operator, (*arguments[:2], bias, 2, 3, False))


def test_autograd_keeps_the_input_as_it_came_and_nothing_as_large():
    x, weight, bias = (t.requires_grad_() for t in case(SHAPES[0]))
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.data_ptr()) or t, lambda t: t):
        shifted_pointwise(x, weight, bias, num_segments=4)

    assert kept == [x.data_ptr(), weight.data_ptr()]


def test_under_autocast_it_computes_in_the_dtype_of_a_convolution():
    x, weight, bias = case(SHAPES[4])
    with torch.autocast("cpu", torch.bfloat16):
        out = shifted_pointwise(x, weight, bias, num_segments=8)
        expected = in_two_steps(x.bfloat16(), weight, bias, num_segments=8)

    assert out.dtype == expected.dtype == torch.bfloat16
    torch.testing.assert_close(out, expected)


# Triton's interpreter, which is NumPy, knows no bf16.
_INTERPRETED = """
import sys
import torch
from tsn_tsm_plugin.layers import shifted_pointwise as module
from tsn_tsm_plugin.layers.shifted_pointwise_kernel import launch
from support.shifted_cases import SHAPES, case, in_two_steps

launches = 0
def counted(*args, **how):
    global launches
    launches += 1
    return launch(*args, **how)

sys.modules[launch.__module__].launch = counted
torch.set_num_threads(1)
if hasattr(torch.backends.cudnn, "conv"):  # From now on allow_tf32 cannot be read.
    torch.backends.cudnn.conv.fp32_precision = "ieee"
for shape in SHAPES:
    for causal in (False, True):
        for dtype, tolerance in ((torch.float32, 1e-5), (torch.float16, 2e-3)):
            x, weight, bias = case(shape, dtype)
            how = dict(num_segments=shape[5], shift_div=shape[6], causal=causal)
            for b in (bias, None):
                out = module.shifted_pointwise(x, weight, b, **how)
                assert out.is_contiguous(memory_format=torch.channels_last)
                expected = in_two_steps(x.float(), weight.float(), None if b is None else b.float(), **how)
                torch.testing.assert_close(out.float(), expected, rtol=tolerance, atol=tolerance * 10)
print(launches)
"""


def test_the_kernel_computes_the_same_under_tritons_interpreter():
    # The interpreter of 3.2 makes numbers of arrays of one number, which NumPy 2.4 refuses.
    pytest.importorskip("triton", "3.3", reason="Triton comes with PyTorch's builds for CUDA")
    assert int(run_fresh(_INTERPRETED, TRITON_INTERPRET="1")) == 8 * len(SHAPES)


_PRECISIONS = """
import torch
from tsn_tsm_plugin.layers.shifted_pointwise_kernel import input_precision

cudnn = torch.backends.cudnn
print(input_precision())
cudnn.allow_tf32 = False
print(input_precision())
cudnn.allow_tf32 = True
print(input_precision())
if hasattr(cudnn, "conv"):
    for value in ("ieee", "tf32"):
        cudnn.conv.fp32_precision = value
        print(input_precision())
"""


def test_the_kernel_rounds_float32_as_cudnn_does_by_whichever_name_that_was_set():
    pytest.importorskip("triton", reason="Triton comes with PyTorch's builds for CUDA")
    printed = run_fresh(_PRECISIONS).split()
    assert printed[:3] == ["tf32", "ieee", "tf32"]
    assert printed[3:] == (["ieee", "tf32"] if hasattr(torch.backends.cudnn, "conv") else [])


_COMPILED = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from tsn_tsm_plugin.layers.shifted_pointwise_kernel import BLOCKS, _kernel

for kind in ("fp32", "fp16", "bf16"):
    names = ("num_rows", "num_channels", "num_outputs", "rows_per_frame", "num_segments")
    signature = {name: "*" + kind for name in ("x_ptr", "weight_ptr", "bias_ptr", "out_ptr")}
    signature |= {name: "i32" for name in names}
    constants = dict(FOLD=8, IS_CAUSAL=False, HAS_BIAS=True, PRECISION="tf32", **BLOCKS)
    source = ASTSource(_kernel, signature | {name: "constexpr" for name in constants}, constants)
    compiled = triton.compile(source, target=GPUTarget("cuda", 80, 32))
    print(kind, "mma.sync" in compiled.asm["ptx"])
"""


def test_the_kernel_compiles_for_a_gpu_to_instructions_of_its_matrix_units(tmp_path):
    pytest.importorskip("triton", "3.3", reason="Triton comes with PyTorch's builds for CUDA")
    printed = run_fresh(_COMPILED, TRITON_CACHE_DIR=str(tmp_path))
    assert printed.split("\n")[:3] == ["fp32 True", "fp16 True", "bf16 True"]


@on_a_gpu
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(
    ("dtype", "precision", "tolerance"),
    [
        (torch.float32, without_tf32, 1e-4),
        (torch.float32, nullcontext, 1e-2),
        (torch.float16, nullcontext, 1e-2),
        (torch.bfloat16, nullcontext, 5e-2),
    ],
    ids=["float32", "TF32", "float16", "bfloat16"],
)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_on_a_gpu_values_and_gradients_are_those_of_shift_and_convolution(
    shape, causal, dtype, precision, tolerance, device
):
    how = {"num_segments": shape[5], "shift_div": shape[6], "causal": causal}
    mine, theirs = ([t.to(device).requires_grad_() for t in case(shape, dtype)] for _ in range(2))
    with precision():
        out, expected = shifted_pointwise(*mine, **how), in_two_steps(*theirs, **how)
        out.sum().backward()
        expected.sum().backward()

    # Sums over that many products are that much larger than one of them.
    tolerance *= shape[1] ** 0.5
    torch.testing.assert_close(out, expected, rtol=tolerance, atol=tolerance)
    for tensor, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(tensor.grad, other.grad, rtol=tolerance, atol=tolerance)


def test_without_triton_the_two_steps_are_taken(monkeypatch):
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    x, weight, bias = case(SHAPES[0])

    out = shifted_pointwise(x, weight, bias, num_segments=4)

    torch.testing.assert_close(out, in_two_steps(x, weight, bias, num_segments=4))


@pytest.mark.parametrize(
    "sizes, how, message",
    [
        ({"weight": (2, 8, 3, 3)}, {}, r"weight \(K, C, 1, 1\) .* \(4, 8, 2, 2\) and \(2, 8, 3, 3\)"),
        ({"weight": (2, 7, 1, 1)}, {}, "with the same C"),
        ({}, {"num_segments": 3}, "must be a multiple of num_segments=3, got 4"),
        ({}, {"shift_div": 9}, r"shift_div must be in \[2, C=8\], got 9"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(sizes, how, message):
    weight = torch.zeros(sizes.get("weight", (2, 8, 1, 1)))
    with pytest.raises(ValueError, match=message):
        shifted_pointwise(torch.zeros(4, 8, 2, 2), weight, **{"num_segments": 4, **how})
