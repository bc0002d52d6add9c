"""on_a_gpu, only_on_a_gpu: marks of tests that run on a GPU."""

import pytest

# In the default tier other tests check the same behaviour on the CPU. In the slow tier the marked tests also
# run on the CPU, which checks the tests themselves without a GPU.
on_a_gpu = pytest.mark.parametrize(
    "device",
    [pytest.param("cpu", marks=pytest.mark.slow), pytest.param("cuda", marks=pytest.mark.gpu)],
    indirect=True,
)
# For what PyTorch has on GPUs only, such as batch norm that is synchronised between ranks.
only_on_a_gpu = pytest.mark.parametrize(
    "device", [pytest.param("cuda", marks=pytest.mark.gpu)], indirect=True
)
