"""list_all, status, tail, cancel, resubmit: the commands for submitted jobs.

The commands read run folders, and ask SLURM if it is available.
"""

import argparse
import os
import signal
import sys
from pathlib import Path

from ..cluster import slurm_client as slurm
from ..errors import OK, LaunchError
from ..rank.outcome import note_cancellation
from ..submit_job.to_slurm import resubmit_all
from ..track.records import Submission, find_submission, newest_of, submissions_below
from ..track.status import states_of, table
from ..track.wait import wait_for


def list_all(args: argparse.Namespace) -> int:
    """Print every submission below the folder that holds the run folders."""
    found = submissions_below(args.runs)
    print(table(found) if found else f"no submissions below {args.runs}")
    return OK


def status(args: argparse.Namespace) -> int:
    """Print the state of submissions."""
    found = find_submission(args.target, args.runs, is_newest_only=False)
    newest = newest_of(found) if Path(args.target).is_dir() else found
    print(table([s for s, state in states_of(found) if s in newest or state.may_be_alive]))
    return OK


def tail(args: argparse.Namespace) -> int:
    """Show the log of one submission until its job has ended; return the exit code of the command."""
    return wait_for(_single(args))


def cancel(args: argparse.Namespace) -> int:
    """Cancel submissions that have not ended."""
    found = find_submission(args.target, args.runs, is_newest_only=False)
    alive = [submission for submission, state in states_of(found) if state.may_be_alive]
    for submission in alive:
        _cancel(submission)
        print(f"cancelled job {submission.job_id} ({submission.run_dir})", file=sys.stderr)
    if not alive:
        print(f"nothing to cancel: {_ended(found[-1:])}", file=sys.stderr)
    return OK


def resubmit(args: argparse.Namespace) -> int:
    """Submit failed jobs again, into the same run folders, as one array for each job shape."""
    found = find_submission(args.target, args.runs)
    states = states_of(found)
    wanted = [s for s, state in states if state.has_failed or not args.failed]
    unanswered = next((state for _, state in states if state.is_unanswered), None)
    if unanswered is not None:
        raise LaunchError(f"nothing is submitted again, because the jobs may be alive ({unanswered.source})")
    alive = [s.job_id for s, state in states if state.is_alive and not args.failed]
    if alive:
        raise LaunchError(f"job {', '.join(alive)} has not ended. `--failed` takes those that have failed.")
    if not wanted:
        print(f"nothing to resubmit: {_ended(found)}", file=sys.stderr)
        return OK
    missing = slurm.why_unavailable()
    if missing:
        raise LaunchError(f"resubmitting needs a SLURM cluster: {missing}. Is this a login node?")
    resubmit_all(wanted, num_nodes=args.nodes)
    return OK


def _cancel(submission: Submission) -> None:
    if submission.backend == "slurm":
        asked = slurm.ask("scancel", submission.job_id)
        if asked.returncode:
            raise LaunchError(f"scancel {submission.job_id}: {asked.stderr.strip()}")
    else:
        note_cancellation(submission.job_dir)
        os.kill(int(submission.job_id), signal.SIGTERM)


def _single(args: argparse.Namespace) -> Submission:
    found = find_submission(args.target, args.runs)
    if len({submission.run_dir for submission in found}) > 1:
        raise LaunchError(f"{args.target} stands for {len(found)} jobs; name one: {found[0].run_dir}, ...")
    alive = [s for s, state in states_of(found) if state.may_be_alive]
    return (alive or found[::-1])[0]


def _ended(found: list[Submission]) -> str:
    return ", ".join(f"job {s.job_id} is {state.in_words()}" for s, state in states_of(found))
