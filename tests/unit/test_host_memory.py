import os
import platform
import subprocess
import sys

import pytest

COUNT = """
import resource, sys, torch
from tsn_tsm_plugin import keep_freed_memory

def count_new_pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        torch.ones(16 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

given_back = count_new_pages()
is_kept = keep_freed_memory()
count_new_pages()
print(is_kept, given_back, count_new_pages())
"""

is_glibc = platform.libc_ver()[0] == "glibc"


def count(**environment: str) -> tuple[str, int, int]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC", "GLIBC"))}
    run = subprocess.run(
        [sys.executable, "-c", COUNT], env=kept | environment, check=True, capture_output=True, text=True
    )
    is_kept, before, after = run.stdout.split()
    return is_kept, int(before), int(after)


@pytest.mark.skipif(not is_glibc, reason="needs glibc")
def test_a_process_that_keeps_its_memory_asks_the_system_for_no_new_pages():
    is_kept, before, after = count()

    assert is_kept == "True"
    assert before > 1000
    assert after < 100


@pytest.mark.skipif(not is_glibc, reason="needs glibc")
def test_an_allocator_that_the_user_has_set_is_left_alone():
    is_kept, before, after = count(MALLOC_TRIM_THRESHOLD_="131072")

    assert is_kept == "False"
    assert after > before / 2
