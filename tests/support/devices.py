"""Tests that ask something of a GPU."""

import pytest

# On CPUs other tests of the default tier ask the same. In the slow tier these show, without a GPU, that it is
# asked rightly.
on_a_gpu = pytest.mark.parametrize(
    "device",
    [pytest.param("cpu", marks=pytest.mark.slow), pytest.param("cuda", marks=pytest.mark.gpu)],
    indirect=True,
)
