"""write_submission, job_of: a plan's record, its config and the object that the ranks run."""

import shutil
import sys
from dataclasses import asdict
from pathlib import Path

from tsn_tsm_plugin.atomic_files import write_text_atomically
from tsn_tsm_plugin.config.recipes import find_recipe

from ..rank.job import Job
from ..track.records import Submission, new_submission_folder
from .plan import Plan


def write_submission(plan: Plan, *, jobs_dir: Path | None = None) -> Submission:
    """Create a submission's folder with the record, the recipe and the resolved config; return the record.

    Args:
        plan: The plan to submit.
        jobs_dir: Folder of the array that contains the job.
    """
    folder = new_submission_folder(plan.run_dir)
    write_text_atomically(folder / "config.yaml", plan.cfg.dump())
    recipe = Path(find_recipe(plan.recipe))
    if recipe.is_file():
        shutil.copyfile(recipe, folder / "recipe.yaml")
    submission = Submission(
        folder=str(folder),
        kind=plan.kind,
        name=plan.name,
        backend=plan.backend,
        run_dir=str(plan.run_dir),
        num_nodes=plan.options.nodes,
        num_ranks=plan.num_ranks,
        command=[sys.executable, *sys.argv],
        options=asdict(plan.options),
        jobs_dir=str(jobs_dir or ""),
    )
    submission.write()
    return submission


def job_of(plan: Plan, folder: Path) -> Job:
    """Return the object that every rank of a plan runs; its config is in the submission's folder."""
    return Job(plan.kind, str(folder / "config.yaml"), str(plan.run_dir), plan.options)
