"""write_job, job_environment, final_state, ...: a recipe for the launcher's jobs, and its final weights."""

import os
from pathlib import Path

import torch
from support.runs import write_dataset, write_recipe

TESTS = Path(__file__).resolve().parents[1]


def write_job(folder: Path, *, num_train: int = 16, num_val: int = 4) -> Path:
    """Write the tiny recipe with its videos and return its YAML."""
    return write_recipe(folder, data=write_dataset(folder / "data", num_train=num_train, num_val=num_val))


def job_environment(folder: Path) -> dict[str, str]:
    """Return variables that let another process find the tiny recipe's backbone by an entry point."""
    metadata = folder / "tiny_backbone-1.0.dist-info"
    metadata.mkdir(parents=True, exist_ok=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-backbone\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[tsn_tsm_plugin.backbones]\n"
        "tiny = support.runs:tiny_backbone\n"
        "slow = support.slow_backbone:slow_backbone\n"
    )
    return {"PYTHONPATH": os.pathsep.join((str(folder), str(TESTS))), "OMP_NUM_THREADS": "1"}


def final_state(run_dir: Path) -> dict[str, torch.Tensor]:
    """Return the network's tensors in the newest checkpoint of a run folder."""
    newest = max((run_dir / "checkpoints").glob("step_*.pt"))
    return torch.load(newest, weights_only=True)["model_state"]


def largest_difference(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """Return the largest absolute difference between two networks; 0.0 if they are equal bit for bit."""
    assert one.keys() == other.keys()
    return max(float((one[name].double() - other[name].double()).abs().max()) for name in one)
