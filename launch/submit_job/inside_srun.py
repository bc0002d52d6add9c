"""run_rank: ``srun ... python launch/submit.py --cfg RECIPE``, one rank in an existing allocation."""

import os
from dataclasses import replace
from pathlib import Path

from submitit.slurm.slurm import SlurmJobEnvironment

from tsn_tsm_plugin.atomic_files import write_text_atomically

from ..errors import OK
from .plan import Plan
from .write_submission import job_of, record_of


def run_rank(plan: Plan) -> int:
    """Run this rank of the step; every rank has the same command line and calls this function."""
    step = f"{os.environ['SLURM_JOB_ID']}.{os.environ['SLURM_STEP_ID']}"
    folder = plan.run_dir / "launch" / f"step-{step}"
    # Every rank writes the same file.
    write_text_atomically(folder / "config.yaml", plan.cfg.dump())
    record = replace(record_of(plan, folder), num_ranks=int(os.environ["SLURM_STEP_NUM_TASKS"]))
    job_of(plan, record)(_job_env(folder))
    return OK


def _job_env(folder: Path) -> SlurmJobEnvironment:
    os.environ["SUBMITIT_FOLDER"] = str(folder)
    return SlurmJobEnvironment()
