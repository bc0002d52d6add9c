"""Last lines of the batch script when srun failed: names the first error, and starts the job again if asked.

Run by path, as ``python .../launch/rank/on_failure.py SUBMISSION_FOLDER RETRIES STATUS``, on the first node
of the job. What it prints goes to the end of rank 0's log, which is also the batch script's.
"""

import sys
import time
from pathlib import Path

_START_MARK = "=== launch: job "
_REQUEUE_WAIT_SECONDS = 60.0


def main(folder: Path, retries: int, status: int) -> None:
    """Report the failure of the job that this process runs in."""
    from tsn_tsm_plugin.atomic_files import write_text_atomically

    from ..cluster import slurm_client as slurm
    from .outcome import MISTAKEN, describe, first_failure

    job_id = slurm.own_job_id()
    job_dir = folder / job_id
    if slurm.job_state(job_id).state != "RUNNING":
        return  # It is being cancelled, or requeued: nothing failed.
    failure = first_failure(job_dir, since_last_start(job_dir / f"{job_id}_0_log.out"))
    known = describe(failure) if failure else "no rank left an error: was a node lost?"
    print(f"launch: the job failed with status {status}; {known}", flush=True)
    attempts = job_dir / "retries"
    used = int(attempts.read_text()) if attempts.exists() else 0
    if used >= retries or (failure and failure.ending == MISTAKEN):
        return
    write_text_atomically(attempts, str(used + 1))
    complaint = slurm.requeue(job_id)
    print(f"launch: {complaint or f'started again ({used + 1} of {retries} retries)'}", flush=True)
    if not complaint:
        # Leaving now would end the job as failed before SLURM puts it back.
        time.sleep(_REQUEUE_WAIT_SECONDS)


def since_last_start(log: Path) -> str:
    """Return what a log holds of the job's last start."""
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    return text[max(text.rfind(_START_MARK), 0) :]


if __name__ == "__main__":
    here = Path(__file__).resolve()
    is_checkout = here.parents[1].name == "launch"
    sys.path[0] = str(here.parents[2 if is_checkout else 3])
    __package__ = "launch.rank" if is_checkout else "tsn_tsm_plugin.launcher.rank"
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
