"""ScriptExecutor, build_executor, ...: write the sbatch script of a plan with submitit's SLURM executor."""

import shlex
import sys
import uuid
from pathlib import Path
from typing import Any

from submitit.core.core import Job
from submitit.core.utils import DelayedSubmission
from submitit.slurm.slurm import SlurmExecutor, SlurmJob

from tsn_tsm_plugin.atomic_files import write_text_atomically

from ..cluster import job_requests
from ..cluster.options import minutes_of
from ..cluster.partitions import chosen_partition
from ..code_root import LAUNCHER
from .plan import Plan

# Time limit for partitions without a limit; an interrupted job resumes, so a limit costs nothing.
_DEFAULT_MINUTES = 24 * 60
# Time that the other ranks have to exit after the first rank; all of them leave through a barrier.
_SRUN_WAIT_SECONDS = 60
# Options that sbatch knows under the same name.
_SAME_NAMES = (
    "partition", "account", "qos", "constraint", "nodelist", "exclude", "reservation", "exclusive", "comment",
    "nice", "mem", "mail_type", "mail_user",
)  # fmt: skip


class ScriptExecutor(SlurmExecutor):
    """submitit's SLURM executor, also for ``--dry-run`` and for a controller that may not answer.

    Script, pickles and logs are in one folder, which is created before the job: a job may start before
    ``sbatch`` returns.
    """

    @classmethod
    def affinity(cls) -> int:
        """Return submitit's score of this executor: always usable, for ``--dry-run``."""
        return 2

    @classmethod
    def name(cls) -> str:
        """Return the name by which submitit finds the job environment."""
        return "slurm"

    def script(self) -> str:
        """Return the batch script."""
        return self._make_submission_file_text(self._submitit_command_str, "")

    def _internal_process_submissions(self, delayed_submissions: list[DelayedSubmission]) -> list[Job[Any]]:
        """Submit a job, or several as an array; ``job_requests`` finds a job whose id sbatch lost."""
        pickles = [self.folder / f"{uuid.uuid4().hex}.pkl" for _ in delayed_submissions]
        for delayed, path in zip(delayed_submissions, pickles, strict=True):
            delayed.set_timeout(self.parameters["time"], self.max_num_timeout)
            delayed.dump(path)
        if len(pickles) > 1:
            self.parameters["map_count"] = len(pickles)
        script = self.folder / f".submission_file_{uuid.uuid4().hex}.sh"
        write_text_atomically(script, self.script())
        job_id = job_requests.submit(script)
        ids = [f"{job_id}_{index}" for index in range(len(pickles))] if len(pickles) > 1 else [job_id]
        tasks = list(range(self._num_tasks()))
        jobs: list[Job[Any]] = [SlurmJob(folder=self.folder, job_id=each, tasks=tasks) for each in ids]
        jobs[0].paths.move_temporary_file(script, "submission_file", keep_as_symlink=True)
        for job, path in zip(jobs, pickles, strict=True):
            job.paths.move_temporary_file(path, "submitted_pickle")
        return jobs


def build_executor(plan: Plan, *, folder: Path, code: Path, **more: Any) -> ScriptExecutor:
    """Return the executor that submits a plan.

    Args:
        plan: The plan to submit.
        folder: Folder of the submission.
        code: Root of the code that the ranks run.
        more: More parameters of submitit, such as ``array_parallelism``.
    """
    executor = ScriptExecutor(
        folder, python=start_command(code, python=plan.options.python, prefix=plan.options.container_prefix)
    )
    executor.update_parameters(**{**_parameters(plan, folder, code), **more})
    return executor


def start_command(code: Path, *, python: str = "", prefix: str = "") -> str:
    """Return the shell words that start a rank with the code in a folder.

    Args:
        code: Root of the code.
        python: Interpreter; empty: this process's interpreter.
        prefix: Shell words before the interpreter, such as those that enter a container.
    """
    entry = shlex.quote(str(code / LAUNCHER / "rank" / "entry.py"))
    return f"{prefix} {shlex.quote(python or sys.executable)} -u {entry}".lstrip()


def limit_minutes(plan: Plan) -> int:
    """Return the time limit in minutes: as requested, otherwise the partition's, otherwise a day."""
    if plan.options.time:
        return minutes_of(plan.options.time)
    partition = chosen_partition(plan.options.partition)
    return (partition.limit_minutes if partition else 0) or _DEFAULT_MINUTES


def cpus_per_task(plan: Plan) -> int:
    """Return the CPUs of each process: as requested, otherwise one more than its loader workers.

    The default is limited by the smallest node that has the job's GPUs and a CPU for each process.
    """
    if plan.options.cpus_per_task:
        return plan.options.cpus_per_task
    wanted = plan.cfg.DATA_LOADER.NUM_WORKERS + 1
    partition = chosen_partition(plan.options.partition)
    if partition is None:
        return wanted
    room = partition.fewest_cpus(gpus=plan.options.gpus_per_node, cpus=plan.options.tasks_per_node)
    return max(1, min(wanted, room // plan.options.tasks_per_node))


def shape_of(plan: Plan) -> tuple[int, ...]:
    """Return the sizes that the tasks of one array must have in common."""
    return plan.options.nodes, plan.options.tasks_per_node, plan.options.gpus_per_node, cpus_per_task(plan)


def _parameters(plan: Plan, folder: Path, code: Path) -> dict[str, Any]:
    options = plan.options
    cpus = cpus_per_task(plan)
    more: dict[str, Any] = {"requeue": True}
    if options.mail:
        more |= {"mail_user": options.mail, "mail_type": "END,FAIL"}
    if plan.options.gpus_per_node:
        more["gpus_per_node"] = f"{options.gpu_type}:{plan.options.gpus_per_node}".lstrip(":")
    more |= {name: getattr(options, name) for name in _SAME_NAMES if getattr(options, name)}
    more |= {key: value or True for key, value in options.pairs("sbatch").items()}
    return {
        "job_name": plan.name,
        "time": limit_minutes(plan),
        "nodes": options.nodes,
        "ntasks_per_node": plan.options.tasks_per_node,
        "cpus_per_task": cpus,
        "signal_delay_s": options.signal_delay,
        "stderr_to_stdout": True,
        "wckey": None,
        "setup": _setup(plan, cpus),
        "teardown": _teardown(plan, folder, code),
        # SLURM 22.05 to 23.02 do not pass --cpus-per-task from sbatch to srun.
        "srun_args": [
            "--kill-on-bad-exit=1",
            f"--wait={_SRUN_WAIT_SECONDS}",
            f"--cpus-per-task={cpus}",
            *_container(plan, folder, code),
        ],
        "additional_parameters": more,
    }


def _container(plan: Plan, folder: Path, code: Path) -> list[str]:
    """Return the arguments with which srun enters a container, through the plugin pyxis."""
    if not plan.options.container_image:
        return []
    data = Path(plan.cfg.DATA.PATH_TO_DATA_DIR).expanduser().absolute()
    seen = dict.fromkeys(
        str(location) for location in (plan.run_dir, folder, code, data) if "://" not in str(location)
    )
    mounts = [f"{location}:{location}" for location in seen]
    mounts += [plan.options.container_mounts] if plan.options.container_mounts else []
    return [f"--container-image={plan.options.container_image}", f"--container-mounts={','.join(mounts)}"]


def _setup(plan: Plan, cpus: int) -> list[str]:
    variables = {
        "PYTHONFAULTHANDLER": "1",
        "SLURM_KILL_BAD_EXIT": "1",
        "OMP_NUM_THREADS": str(cpus),
        **plan.options.pairs("env"),
    }
    return [
        'echo "=== launch: job ${SLURM_JOB_ID} start ${SLURM_RESTART_COUNT:-0} on ${SLURM_JOB_NODELIST} ==="',
        *(f"export {name}={shlex.quote(value)}" for name, value in variables.items()),
        *plan.options.setup,
    ]


def _teardown(plan: Plan, folder: Path, code: Path) -> list[str]:
    """Return lines that report a failure, restart the job if retries remain, and exit with srun's status."""
    words = [
        sys.executable,
        str(code / LAUNCHER / "rank" / "on_failure.py"),
        str(folder),
        str(plan.options.retries),
        str(plan.options.max_requeues),
        str(plan.run_dir),
    ]
    return [
        "status=$?",
        f'if [ $status -ne 0 ]; then {shlex.join(words)} "$status"; fi',
        "exit $status",
    ]
