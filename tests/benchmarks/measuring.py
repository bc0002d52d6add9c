"""Interleaved timing, and the names of the hardware and of its precision, for all benchmarks."""

import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

# Benchmarks are scripts: Python does not know the folder of the tests' helpers.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support.tf32 import tf32_allowed  # noqa: E402


def interleave(
    ways: dict[str, Callable[[], object]], *, num_runs: int, device: torch.device, num_warm: int = 3
) -> dict[str, list[float]]:
    """Return seconds of every run of every way, one way after the other in every round."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    clock, _ = clock_of(device, num_threads=torch.get_num_threads())
    for round_number in range(num_warm + num_runs):
        for name, run in ways.items():
            synchronize(device)
            begun = clock()
            run()
            synchronize(device)
            if round_number >= num_warm:
                times[name].append(clock() - begun)
    return times


def clock_of(device: torch.device, *, num_threads: int) -> tuple[Callable[[], float], str]:
    """Return the clock for the work of this process, and the name of what it shows.

    One thread on a CPU is timed by what it computes itself, which waiting for other processes does not
    lengthen.
    """
    if device.type == "cpu" and num_threads == 1:
        return time.process_time, "CPU time"
    return time.perf_counter, "wall time"


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def command_line() -> str:
    """Return the command that started this process, so that it can be repeated."""
    return " ".join([f"python tests/benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])


def hardware_tag(device: torch.device, *, num_threads: int) -> str:
    """Return the hardware for the name of a note: ``cuda``, or ``cpu`` and the number of threads."""
    return "cuda" if device.type == "cuda" else f"cpu{num_threads}"


def write_note(note: str, *, subject: str, hardware: str) -> None:
    """Keep a note as ``results/<subject>_<hardware>_<yyyymm>.md``."""
    out = Path(__file__).parent / "results" / f"{subject}_{hardware}_{time.strftime('%Y%m')}.md"
    out.parent.mkdir(exist_ok=True)
    out.write_text(note)


def hardware_name(device: torch.device) -> str:
    """Return what the system calls the device."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name()


def float32_name(device: torch.device) -> str:
    """Return the meaning of float32 on a device: on a GPU PyTorch's settings may make it TF32."""
    if device.type != "cuda":
        return "float32"
    kinds = zip(("convolutions", "matrix products"), tf32_allowed(), strict=True)
    return f"float32 (TF32 allowed in {' and '.join(kind for kind, is_so in kinds if is_so) or 'nothing'})"


def cpu_name() -> str:
    """Return what the system calls its processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
