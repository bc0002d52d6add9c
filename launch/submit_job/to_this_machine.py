"""run_local, run_rank, run_debug: run a plan here; Ctrl-C asks a local job to stop."""

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from submitit.slurm.slurm import SlurmJobEnvironment

from tsn_tsm_plugin.atomic_files import write_text_atomically

from ..cluster import slurm_client as slurm
from ..code_root import CODE_ROOT
from ..errors import CANCELLED, FAILED, OK
from ..rank.outcome import describe, first_failure, lost_ranks, note_cancellation
from ..track.log_follower import LogFollower, last_lines
from ..track.records import Submission
from ..track.status import all_finished
from ..track.wait import say, signals_sent_to
from .local_executor import GroupExecutor
from .plan import Plan
from .sbatch_script import start_command
from .write_submission import job_of, write_submission

_POLL_SECONDS = 0.1
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def run_debug(plan: Plan) -> int:
    """Run a plan in this process, so that a debugger can attach."""
    from tsn_tsm_plugin import engine

    getattr(engine, plan.kind)(plan.cfg)
    return OK


def run_rank(plan: Plan) -> int:
    """Run this rank of ``srun ... python launch/submit.py --cfg RECIPE``, a step of an allocation.

    Every rank has the same command line and calls this function.
    """
    step = f"{os.environ['SLURM_JOB_ID']}.{os.environ['SLURM_STEP_ID']}"
    folder = plan.run_dir / "launch" / f"step-{step}"
    # Every rank writes the same file.
    write_text_atomically(folder / "config.yaml", plan.cfg.dump())
    os.environ["SUBMITIT_FOLDER"] = str(folder)
    job_of(plan, folder)(SlurmJobEnvironment())
    return OK


def run_local(plan: Plan) -> int:
    """Run a plan's ranks through submitit's local executor; return the exit code of the command."""
    submission = write_submission(plan)
    folder = Path(submission.folder)
    executor = GroupExecutor(folder, python=start_command(CODE_ROOT))
    executor.update_parameters(tasks_per_node=plan.num_ranks, environment=_environment(plan))
    job = executor.submit(job_of(plan, folder))
    return _follow(job, submission.with_job(job.job_id))


def _environment(plan: Plan) -> dict[str, str]:
    environment = {**slurm.clean_environment(), **plan.options.pairs("env")}
    if plan.num_ranks > 1 and not any(name in environment for name in _THREAD_VARIABLES):
        # By default every rank starts a thread for each CPU.
        environment["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // plan.num_ranks))
    return environment


def _follow(job: Any, submission: Submission) -> int:
    """Show a job's log until it ends; the first Ctrl-C lets it save and stop, the second one kills it."""
    follower = LogFollower(submission.log_file())
    presses = 0

    def pass_on(number: int, frame: object) -> None:
        nonlocal presses
        presses += 1
        if presses > 1:
            os.killpg(job._process.pid, signal.SIGKILL)
            return
        print(file=sys.stderr)
        say("stopping after this step; Ctrl-C again kills the job")
        note_cancellation(submission.job_dir)
        job._process.terminate()

    with signals_sent_to(pass_on, signal.SIGINT, signal.SIGTERM):
        while not job.done():
            follower.show_new()
            time.sleep(_POLL_SECONDS)
    follower.show_new()
    if job._process.returncode == 0 and all_finished(submission):
        say(f"done; run folder {submission.run_dir}")
        return OK
    if presses:
        say(f"stopped; the same command goes on from the newest checkpoint in {submission.run_dir}")
        return CANCELLED
    say(f"failed; run folder {submission.run_dir}\n{_explain(submission)}")
    return FAILED


def _explain(submission: Submission) -> str:
    failure = first_failure(submission.job_dir)
    if failure is not None:
        # The log of rank 0 has already been shown.
        text = describe(failure, num_lines=20 if failure.rank else 1)
        return f"{text}\n  log: {submission.log_file(failure.rank)}"
    lost = lost_ranks(submission.job_dir, "", submission.num_ranks)
    log = submission.log_file(lost[0] if lost else 0)
    lines = "\n".join(f"  {line}" for line in last_lines(log, 20))
    return f"rank {lost} was killed and left no error; its log ends with\n{lines}\n  log: {log}"
