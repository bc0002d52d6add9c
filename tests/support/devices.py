"""on_a_gpu: the mark of tests that run on a GPU."""

import pytest

# In the default tier other tests check the same behaviour on the CPU. In the slow tier the marked tests also
# run on the CPU, which checks the tests themselves without a GPU.
on_a_gpu = pytest.mark.parametrize(
    "device",
    [pytest.param("cpu", marks=pytest.mark.slow), pytest.param("cuda", marks=pytest.mark.gpu)],
    indirect=True,
)
