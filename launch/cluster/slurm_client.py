"""ask, JobState, job_states, ...: SLURM's commands with a time limit, and their answers as plain data."""

import functools
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from submitit.slurm.slurm import SlurmInfoWatcher

from ..errors import LaunchError

# States in which a job has not ended; a requeued job passes through several of them.
ALIVE = {
    "PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "RESIZING",
    "SIGNALING", "SPECIAL_EXIT", "STAGE_OUT", "STOPPED", "SUSPENDED", "RESV_DEL_HOLD",
}  # fmt: skip
# Variables of other jobs and process groups, which sbatch and local ranks must not see.
_FOREIGN_PREFIXES = ("SLURM_", "SBATCH_", "SALLOC_", "SRUN_", "SUBMITIT_", "SLURMD_", "TORCHELASTIC_")
_FOREIGN_NAMES = {
    "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "ROLE_RANK", "ROLE_NAME",
    "GROUP_WORLD_SIZE", "ROLE_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT",
}  # fmt: skip
_KEPT = {"SLURM_CONF"}
# Errors of SLURM's programs if the controller cannot be reached or does not finish its answer.
_NO_ANSWER = re.compile(
    r"Unable to contact slurm controller|Socket timed out|Unexpected message received|Zero Bytes were"
    r"|Connection (refused|timed out|reset)|[Cc]onnection failure|Communication shutdown failure"
    r"|standby mode|Insane message length|munged? |Temporarily unable"
)
_FORGOTTEN = "Invalid job id"
_ANSWER_SECONDS = 30.0


class NoAnswerError(LaunchError):
    """SLURM's controller did not answer; jobs may still run."""


@dataclass(frozen=True)
class JobState:
    """State of a job in SLURM.

    Attributes:
        state: ``PENDING``, ``RUNNING``, ``COMPLETED``, ...; empty if SLURM does not know the job any more.
        reason: Why the job waits or ended.
        exit_code: ``status:signal`` of the batch script.
        restarts: Number of requeues.
        is_preempted: Whether the job is in the grace time of a preemption.
    """

    state: str = ""
    reason: str = ""
    exit_code: str = ""
    restarts: int = 0
    is_preempted: bool = False


def why_unavailable() -> str:
    """Return why this machine cannot submit, or an empty text if it can.

    A machine without a cluster may have SLURM's programs, but has no slurm.conf. A configured controller that
    does not answer is an error later.
    """
    for program in ("sbatch", "srun"):
        if shutil.which(program) is None:
            return f"no {program} on PATH"
    if can_ask() and not _is_configured(os.environ.get("PATH", ""), os.environ.get("SLURM_CONF", "")):
        return "sbatch is on PATH, but there is no slurm.conf that names a cluster"
    return ""


@functools.cache
def _is_configured(path: str, slurm_conf: str) -> bool:
    """Cache the answer for these programs and this configuration: a command needs it many times."""
    try:
        return "configuration source" not in ask("scontrol", "ping", timeout_seconds=10.0).stderr
    except NoAnswerError:
        return True


def can_ask() -> bool:
    """Return whether this machine can ask for the state of jobs."""
    return shutil.which("scontrol") is not None


def ask(
    *command: str, timeout_seconds: float = 0.0, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a SLURM command and return its result, with any exit status.

    Args:
        command: Program and arguments.
        timeout_seconds: Longest wait for the command; 0: the usual limit.
        env: Environment of the command; by default this process's.

    Raises:
        LaunchError: If the command is not installed.
        NoAnswerError: If the controller does not answer in time.
    """
    timeout_seconds = timeout_seconds or _ANSWER_SECONDS
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_seconds, env=env)
    except FileNotFoundError:
        raise LaunchError(
            f"{command[0]} is not on PATH. Is this a login node of the cluster? `--cluster local` runs here."
        ) from None
    except subprocess.TimeoutExpired:
        raise NoAnswerError(
            f"`{' '.join(command)}` did not answer in {timeout_seconds:.0f} s: the SLURM controller is down, "
            f"or slurm.conf ({os.environ.get('SLURM_CONF', 'the default one')}) is not readable."
        ) from None
    if done.returncode and _NO_ANSWER.search(done.stderr):
        reason = done.stderr.strip().splitlines()[-1].rstrip(".")
        raise NoAnswerError(f"The SLURM controller does not answer: {reason}. Try again later.")
    return done


def clean_environment() -> dict[str, str]:
    """Return this environment without variables of other jobs and process groups; keep ``SLURM_CONF``."""
    return {
        name: value
        for name, value in os.environ.items()
        if name in _KEPT or not (name.startswith(_FOREIGN_PREFIXES) or name in _FOREIGN_NAMES)
    }


def job_states(job_ids: Iterable[str]) -> dict[str, JobState]:
    """Return the states of jobs and of tasks of arrays (``12_3``), with one query for each array.

    ``scontrol`` knows jobs until some minutes after their end. ``sacct``, if available, also knows older
    jobs. A job that both do not know has an empty state.

    Raises:
        NoAnswerError: If the controller does not answer, so that nothing is known.
    """
    wanted = list(job_ids)
    found: dict[str, JobState] = {}
    for main_id in dict.fromkeys(job_id.split("_")[0] for job_id in wanted):
        found.update(_controlled(main_id) or _accounted(main_id))
    return {job_id: found.get(job_id, JobState()) for job_id in wanted}


def job_state(job_id: str) -> JobState:
    """Return the state of one job or of one task of an array."""
    return job_states([job_id])[job_id]


def _controlled(main_id: str) -> dict[str, JobState]:
    shown = ask("scontrol", "show", "job", main_id, "-o")
    if shown.returncode and _FORGOTTEN not in shown.stderr + shown.stdout:
        raise NoAnswerError(
            f"`scontrol show job {main_id}` failed: {shown.stderr.strip() or shown.stdout.strip()}"
        )
    found: dict[str, JobState] = {}
    for line in shown.stdout.splitlines() if shown.returncode == 0 else []:
        fields = dict(
            re.findall(r"\b(ArrayTaskId|JobState|Reason|ExitCode|Restarts|PreemptTime)=(\S+)", line)
        )
        if "JobState" not in fields:
            continue
        state = JobState(
            fields["JobState"],
            _reason(fields.get("Reason", "")),
            fields.get("ExitCode", ""),
            int(fields.get("Restarts", "0")),
            fields.get("PreemptTime", "None") != "None",
        )
        tasks = fields.get("ArrayTaskId", "")
        ids = [f"{main_id}_{index}" for index in numbers_in(tasks)] if tasks else [main_id]
        found.update(dict.fromkeys(ids, state))
    if not shown.returncode and not found:
        raise NoAnswerError(
            f"`scontrol show job {main_id}` printed no state: {shown.stdout.strip()[:200]!r}."
        )
    return found


def _accounted(main_id: str) -> dict[str, JobState]:
    if shutil.which("sacct") is None:
        return {}
    try:
        shown = ask("sacct", "-X", "-P", "-j", main_id, "-o", "JobID,State,ExitCode,Reason")
    except NoAnswerError:
        # The controller answered that it does not know the job: the job has ended.
        return {}
    told = SlurmInfoWatcher(delay_s=0).read_info(shown.stdout) if shown.returncode == 0 else {}
    return {
        # "CANCELLED by 1000" names who did it.
        job_id: JobState(line["State"].split()[0], _reason(line["Reason"]), line["ExitCode"])
        for job_id, line in told.items()
    }


def _reason(word: str) -> str:
    return "" if word in ("None", "(null)") else word


def numbers_in(text: str) -> list[int]:
    """Expand ``3`` or ``3-5,7%2``, as SLURM writes ranks and the waiting tasks of an array."""
    found: list[int] = []
    for part in text.partition("%")[0].split(","):
        first, _, last = part.partition("-")
        if first.isdigit():
            found += range(int(first), int(last or first) + 1)
    return found


def longest_array() -> int:
    """Return the most tasks that an array may have."""
    match = re.search(r"MaxArraySize\s*=\s*(\d+)", ask("scontrol", "show", "config").stdout)
    return max(int(match[1]), 1) if match else 1001


def own_job_id() -> str:
    """Return the id of the job this process runs in, as ``scontrol`` accepts it; empty outside of SLURM."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array else os.environ.get("SLURM_JOB_ID", "")


def all_nodes_are_here() -> bool:
    """Return whether every node is this machine, as on a laptop's own SLURM."""
    shown = ask("scontrol", "show", "node", "-o")
    hosts = set(re.findall(r"NodeHostName=(\S+)", shown.stdout))
    return hosts == {socket.gethostname().split(".")[0]}
