"""submit, refusal, requeue, requeue_without: requests to SLURM, repeated while its controller is silent."""

import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from ..errors import LaunchError
from .slurm_client import NoAnswerError, ask, clean_environment

_LONGEST_PAUSE_SECONDS = 15.0
_SBATCH_SECONDS, _FIND_SECONDS, _NUM_LOOKS = 180.0, 120.0, 3


def refusal(script: Path, *options: str) -> str:
    """Return why SLURM would refuse a batch script, in sbatch's words; empty if it would accept the script.

    Args:
        script: The batch script.
        options: More options of sbatch; these override the script's lines.
    """
    asked = ask("sbatch", "--test-only", *options, str(script), timeout_seconds=90.0, env=clean_environment())
    said = " ".join(line.removeprefix("sbatch: error: ") for line in asked.stderr.splitlines())
    return said.removeprefix("allocation failure: ") if asked.returncode else ""


def requeue(job_id: str, *, is_over: Callable[[], bool]) -> str:
    """Ask SLURM, until it answers, to run a job again; return SLURM's error, empty on success.

    Args:
        job_id: The job.
        is_over: Returns whether asking again is pointless.
    """
    pause = 1.0
    while True:
        try:
            asked = ask("scontrol", "requeue", job_id)
            return (asked.stderr or asked.stdout).strip() if asked.returncode else ""
        except LaunchError as error:
            if is_over() or not isinstance(error, NoAnswerError):
                return str(error)
            said = f"job {job_id} is not requeued yet, asks again in {pause:.0f} s. {error}"
        print(f"launch: {said}", flush=True)
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)


def requeue_without(job_id: str, nodes: Sequence[str], script: Path, *, is_over: Callable[[], bool]) -> str:
    """Ask SLURM to run a job again without some nodes; return SLURM's error, empty on success.

    SLURM accepts a node list for waiting jobs only. The caller must ignore SIGTERM, which a requeue sends.

    Args:
        job_id: The job.
        nodes: Nodes that the job must not get.
        script: The job's batch script. If SLURM has too few other nodes for it, the job would wait forever.
        is_over: See :func:`requeue`.
    """
    try:
        shown = ask("scontrol", "show", "job", job_id, "-o").stdout
        before = re.search(r"\bExcNodeList=(?!\(null\))(\S+)", shown)
        excluded = ",".join([*([before[1]] if before else []), *nodes])
        refused = refusal(script, f"--exclude={excluded}")
        # The refusal may come from limits of the account, because this job still runs and counts too.
        if "node" in refused.lower():
            wanted = os.environ.get("SLURM_JOB_NUM_NODES")
            return (
                f"the job needs {wanted} nodes, and too few are left without {excluded} ({refused}). Wait "
                "until they are repaired, or add `--nodes N` for fewer nodes with the same global batch."
            )
        print(f"launch: put back into the queue, without node {', '.join(nodes)}", flush=True)
        complaint = requeue(job_id, is_over=is_over)
        if complaint:
            return complaint
        asked = ask("scontrol", "update", f"JobId={job_id}", f"ExcNodeList={excluded}")
    except LaunchError as error:
        return str(error)
    return (asked.stderr or asked.stdout).strip() if asked.returncode else ""


def submit(script: Path) -> str:
    """Submit a batch script; return the id of its job.

    If sbatch does not answer with a job id, SLURM may still have accepted the job. Search for it by the path
    of its script, which no other job has.

    Raises:
        LaunchError: If SLURM refuses the job, or has no job with this script.
    """
    try:
        asked = ask("sbatch", str(script), timeout_seconds=_SBATCH_SECONDS, env=clean_environment())
    except NoAnswerError as error:
        said = str(error)
    else:
        said = (asked.stderr or asked.stdout).strip().replace("sbatch: error: ", "")
        if asked.returncode:
            raise LaunchError(f"SLURM did not take the job: {said}")
        named = re.search(r"job (\d+)", asked.stdout)
        if named:
            return named[1]
    job_id = _find_by_script(script, said)
    if not job_id:
        raise LaunchError(f"SLURM did not take the job: {said}")
    print(f"launch: SLURM took job {job_id}, although sbatch reported: {said}", file=sys.stderr, flush=True)
    return job_id


def _find_by_script(script: Path, said: str) -> str:
    """Return the id of the job with a batch script; empty if SLURM answers that no job has the script.

    Ask SLURM more than once: a request may reach the controller after sbatch has given up.
    """
    pause, num_answers = 1.0, 0
    deadline = time.monotonic() + _FIND_SECONDS
    while num_answers < _NUM_LOOKS:
        try:
            listed = ask("squeue", "--me", "-h", "-t", "all", "-o", "%F|%o")
        except LaunchError as error:
            if time.monotonic() > deadline or not isinstance(error, NoAnswerError):
                raise LaunchError(
                    f"It is not known whether SLURM took the job. sbatch: {said!r}. squeue: {error} "
                    "The files of this job are removed, so the job ends at its start. Submit again later."
                ) from error
        else:
            num_answers += listed.returncode == 0
            for line in listed.stdout.splitlines():
                job_id, _, path = line.partition("|")
                if path == str(script):
                    return job_id
            if time.monotonic() > deadline:
                break
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
    return ""
