"""write_submission, take_snapshot, job_of: what a submission keeps of plan and code, and what ranks run."""

import json
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from tsn_tsm_plugin.atomic_files import replace_folder_when_whole, write_text_atomically
from tsn_tsm_plugin.config.recipes import find_recipe

from ..rank.job import Job
from ..track.records import Submission, new_submission_folder
from .plan import Plan

# Folders of a checkout that hold what a job runs.
_ROOMS = ("tsn_tsm_plugin", "launch", "projects")


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


def take_snapshot(checkout: Path, submission: Path) -> Path:
    """Copy a checkout's code, including untracked files, below a submission's folder.

    The copy has a temporary name until it is complete. Next to the copy, ``code.json`` names the commit and
    the changed files, and ``code.diff`` holds the changes.

    Args:
        checkout: Root of the checkout.
        submission: Folder of the submission.

    Returns:
        Root of the copy.
    """
    target = submission / "code"
    with replace_folder_when_whole(target) as staging:
        for file in _code_files(checkout):
            copy = staging / file
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(checkout / file, copy)
    commit, changed = _git(checkout, "rev-parse", "HEAD"), _git(checkout, "status", "--porcelain")
    described = {"commit": commit.strip(), "changed": changed.splitlines()}
    write_text_atomically(submission / "code.json", json.dumps(described, indent=1) + "\n")
    if changed:
        write_text_atomically(submission / "code.diff", _git(checkout, "diff", "HEAD"))
    return target


def _code_files(checkout: Path) -> list[Path]:
    listed = _git(checkout, "ls-files", "-co", "--exclude-standard", "-z", "--", *_ROOMS)
    if listed:
        return [Path(name) for name in listed.split("\0") if name and (checkout / name).is_file()]
    found = (file for room in _ROOMS for file in (checkout / room).rglob("*"))
    return [
        file.relative_to(checkout) for file in found if file.is_file() and "__pycache__" not in file.parts
    ]


def _git(checkout: Path, *words: str) -> str:
    """Return the output of git, or an empty text outside a git checkout."""
    try:
        said = subprocess.run(
            ["git", "-C", str(checkout), *words], capture_output=True, text=True, timeout=60, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return said.stdout
