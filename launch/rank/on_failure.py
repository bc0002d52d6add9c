"""Last step of the batch script if srun fails: name the first error, and requeue the job if retries remain.

Run by path, as ``python .../launch/rank/on_failure.py FOLDER RETRIES MAX_REQUEUES RUN_DIR STATUS``, on the
first node of the job. Its output goes to the end of rank 0's log, which is also the batch script's.
"""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

if __name__ == "__main__":
    here = Path(__file__).resolve()
    is_checkout = here.parents[1].name == "launch"
    sys.path[0] = str(here.parents[2 if is_checkout else 3])
    __package__ = "launch.rank" if is_checkout else "tsn_tsm_plugin.launcher.rank"

from tsn_tsm_plugin.atomic_files import write_text_atomically

from ..cluster import slurm_client as slurm
from ..cluster.job_requests import requeue, requeue_without
from ..code_root import COMMAND
from ..errors import LaunchError
from .outcome import MISTAKEN, UNHEALTHY, describe, first_failure, lost_ranks, unhealthy_nodes, was_stopped

_START_MARK = "=== launch: job "
_REQUEUE_WAIT_SECONDS = 60.0
_REQUEUE_SECONDS = 60.0
# After this many starts with unhealthy nodes, blame the job: its container may have no GPUs.
_MOST_CHECKS_FAILED = 5
# A node that does not start a process within this time counts as dead.
_PROBE_SECONDS = 30.0


def main(folder: Path, retries: int, max_requeues: int, run_dir: str, status: int) -> None:
    """Report the failure of the job that this process runs in, and requeue the job if it may continue."""
    job_id = slurm.own_job_id()
    job_dir = folder / job_id
    by_hand = f"`{COMMAND} resubmit {shlex.quote(run_dir)}` goes on from the newest checkpoint"
    try:
        if slurm.job_state(job_id).state != "RUNNING":
            return  # SLURM cancels or requeues the job: nothing failed.
    except LaunchError as error:
        print(f"launch: the state of job {job_id} is not known. {error}", flush=True)
    log = since_last_start(folder / f"{job_id}_0_log.out")
    failure = first_failure(job_dir, log)
    is_mistake = failure is not None and failure.ending == MISTAKEN
    restarts = int(os.environ.get("SLURM_RESTART_COUNT", "0"))
    unhealthy = unhealthy_nodes(job_dir)
    attempts = job_dir / ("failed_checks" if unhealthy else "retries")
    used = int(attempts.read_text()) if attempts.exists() else 0
    going_on = "put back into the queue"
    is_wanted = restarts < max_requeues
    nodes = [] if is_mistake or unhealthy else _nodes_of_lost_ranks(job_id, job_dir, log)
    if unhealthy:
        said = describe(failure) if failure else ""
        write_text_atomically(attempts, str(used + 1))
        if used + 1 >= _MOST_CHECKS_FAILED:
            is_wanted = False
            said += f"\nlaunch: nodes failed their check in {used + 1} starts, so the job may be at fault. "
            said += "Look at its container and its PyTorch, or skip the check by --health-check 0."
    elif nodes:
        said = f"node {', '.join(nodes)} was lost"
    elif failure is None and was_stopped(job_dir):
        said = "the work is saved, but the job was not requeued"
    else:
        said = describe(failure) if failure else "no rank left an error"
        if failure is not None and failure.ending == UNHEALTHY:
            # The bad node is unknown: SLURM may choose other nodes.
            retries = max(retries, 1)
        is_wanted = used < retries and not is_mistake
        going_on = f"started again ({used + 1} of {retries} retries)"
        write_text_atomically(attempts, str(used + is_wanted))
    print(f"launch: the job failed with status {status}; {said}", flush=True)
    if not is_wanted:
        return
    deadline = time.monotonic() + _REQUEUE_SECONDS
    if unhealthy:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        script = folder / f"{job_id.partition('_')[0]}_submission.sh"
        complaint = requeue_without(job_id, unhealthy, script, is_over=lambda: time.monotonic() > deadline)
    else:
        # SLURM ends this script once the job is requeued: print first.
        print(f"launch: {going_on}", flush=True)
        complaint = requeue(job_id, is_over=lambda: time.monotonic() > deadline)
    if complaint:
        print(f"launch: {complaint} By hand: {by_hand}", flush=True)
    else:
        # Exiting now would end the job as failed before SLURM requeues it.
        time.sleep(_REQUEUE_WAIT_SECONDS)


def _nodes_of_lost_ranks(job_id: str, job_dir: Path, log: str) -> list[str]:
    """Return the lost nodes of a job in which a rank left no outcome; empty if SLURM does not know."""
    if not lost_ranks(job_dir, log, int(os.environ.get("SLURM_NTASKS", "1"))):
        return []
    try:
        return lost_nodes(job_id)
    except (LaunchError, OSError) as error:
        print(f"launch: the nodes cannot be looked at. {error}", flush=True)
        return []


def lost_nodes(job_id: str) -> list[str]:
    """Return the nodes of a job that died or restarted, so that they run none of the job's processes.

    SLURM may take minutes to notice a dead node (``SlurmdTimeout``), and never reports a node that returns at
    once. So start a process on each node, and compare the start of its slurmd with the job's.

    Raises:
        LaunchError: If SLURM does not answer.
    """
    job = slurm.ask("scontrol", "show", "job", job_id, "-o").stdout
    nodes = slurm.ask(
        "scontrol", "show", "hostnames", os.environ.get("SLURM_JOB_NODELIST", "")
    ).stdout.split()
    began = _field(job, "StartTime")
    probes = {node: _start_probe(node) for node in nodes}
    lost = {node for node, probe in probes.items() if not _has_answered(probe)}
    for node in nodes:
        shown = slurm.ask("scontrol", "show", "node", node, "-o").stdout
        # Both times are ISO 8601 in the controller's time zone.
        if _field(shown, "SlurmdStartTime") > began or re.search(r"State=\S*(\*|DOWN)", shown):
            lost.add(node)
    return sorted(lost)


def _field(text: str, name: str) -> str:
    match = re.search(rf"\b{name}=(\d\S+)", text)
    return match[1] if match else ""


def _start_probe(node: str) -> "subprocess.Popen[bytes]":
    command = ["srun", "--overlap", "-N1", "-n1", "-c1", f"--nodelist={node}", "true"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _has_answered(probe: "subprocess.Popen[bytes]") -> bool:
    try:
        return probe.wait(_PROBE_SECONDS) == 0
    except subprocess.TimeoutExpired:
        probe.kill()
        probe.wait()
        return False


def since_last_start(log: Path) -> str:
    """Return the part of a log since the job's last start."""
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    return text[max(text.rfind(_START_MARK), 0) :]


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], int(sys.argv[5]))
