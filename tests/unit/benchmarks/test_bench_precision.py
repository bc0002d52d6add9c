"""Benchmarks on a stand-in for a GPU that convolves in TF32: they compare without it and time with it."""

from argparse import Namespace

import pytest
import torch
from support.tf32 import EmulatedTF32, tf32_allowed, without_tf32

from tsn_tsm_plugin import StreamingTSM, create_tsm

CPU = torch.device("cpu")


@torch.no_grad()
def test_networks_are_compared_without_tf32_and_timed_as_a_user_has_them(load, tmp_path):
    bench = load("bench_network")
    networks, _ = bench.create_networks(tmp_path / "none", CPU)
    name = f"{bench.TSM}, optimised, float32"
    with EmulatedTF32() as gpu:
        ways, deviations = bench.inference_ways(networks, Namespace(compile=False, batch=1, size=32), CPU)
        num_compared = gpu.num_convolutions
        fast, eager = ways[name](), ways[bench.TSM]()

    assert deviations[name] < bench.TOLERANCE < bench.deviation(fast, eager)
    assert (num_compared, gpu.num_convolutions) == (0, 2 * 53)


def test_a_stream_is_compared_without_tf32(load):
    bench = load("bench_streaming")
    torch.manual_seed(0)
    model = create_tsm(backbone="resnet18", num_segments=4, causal=True).eval()
    with EmulatedTF32() as gpu:
        bench.check(model, StreamingTSM(model), torch.randn(1, 3, 4, 32, 32))

    assert gpu.num_convolutions == 0


def test_notes_name_the_precision_of_float32_on_a_gpu(load):
    float32_name = load("measuring").float32_name

    assert float32_name(CPU) == "float32"
    assert float32_name(torch.device("cuda")) == "float32 (TF32 allowed in convolutions)"
    with without_tf32():
        named = float32_name(torch.device("cuda"))
    assert named == "float32 (TF32 allowed in nothing)"


@pytest.mark.parametrize("allowed", [True, False])
def test_after_an_error_the_precision_is_as_it_was_set_before(allowed):
    torch.backends.cudnn.allow_tf32 = allowed
    try:
        with pytest.raises(RuntimeError, match="out of luck"), without_tf32():
            assert tf32_allowed() == (False, False)
            raise RuntimeError("out of luck")
        assert tf32_allowed()[0] is allowed
        assert torch.backends.cudnn.allow_tf32 is allowed
    finally:
        torch.backends.cudnn.allow_tf32 = True
