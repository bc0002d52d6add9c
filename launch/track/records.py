"""Submission: the record of a job in its run folder. Later commands find it, also without a scheduler.

<run folder>/launch/<stamp>/submission.json   this record
                           /config.yaml       the resolved config the job reads
                           /cluster.yaml      the options it was submitted with
                           /code/             the code it runs
                           /<job id>_<rank>_log.out   log of each rank
                           /<job id>/         outcome of each rank
"""

import contextlib
import json
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from tsn_tsm_plugin.atomic_files import write_text_atomically
from tsn_tsm_plugin.paths import read_text

from ..errors import LaunchError

RECORD = "submission.json"


@dataclass(frozen=True)
class Submission:
    """One job, or one task of an array.

    Attributes:
        folder: Folder of this record.
        kind: ``"train"``, ``"evaluate"`` or ``"profile"``.
        name: Name of the job.
        backend: ``"slurm"`` or ``"local"``.
        run_dir: The run folder.
        job_id: SLURM's id (``12``, ``12_3``) or the local process's id; empty until known.
        num_nodes: Number of requested nodes.
        num_ranks: Processes on all nodes.
        command: The command line that submitted it.
        created: Seconds since 1970.
        options: Options of the job with its resolved size, for resubmission.
        jobs_dir: Folder that the jobs of an array share; empty: the record's own folder.
    """

    folder: str
    kind: str
    name: str
    backend: str
    run_dir: str
    num_nodes: int
    num_ranks: int
    command: list[str]
    job_id: str = ""
    created: float = field(default_factory=time.time)
    options: dict[str, Any] = field(default_factory=dict)
    jobs_dir: str = ""

    @property
    def config_file(self) -> Path:
        """The resolved config."""
        return Path(self.folder) / "config.yaml"

    @property
    def job_dir(self) -> Path:
        """Folder of the outcomes of the job's ranks."""
        return Path(self.jobs_dir or self.folder) / self.job_id

    def log_file(self, rank: int = 0) -> Path:
        """Return the log of a rank; rank 0's also holds SLURM's messages."""
        return Path(self.jobs_dir or self.folder) / f"{self.job_id}_{rank}_log.out"

    def with_job(self, job_id: str) -> "Submission":
        """Return the record with its job's id, written to its folder."""
        known = replace(self, job_id=job_id)
        known.write()
        return known

    def write(self) -> None:
        """Write the record into its folder."""
        write_text_atomically(Path(self.folder) / RECORD, json.dumps(asdict(self), indent=1) + "\n")


def new_submission_folder(run_dir: Path) -> Path:
    """Create and return a folder for one submission of a run; names sort by time."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    for count in range(100):
        folder = run_dir / "launch" / (stamp if count == 0 else f"{stamp}-{count:02d}")
        with contextlib.suppress(FileExistsError):
            folder.mkdir(parents=True)
            return folder
    raise LaunchError(f"{run_dir}/launch: a hundred submissions within one second.")


def read_record(file: Path) -> Submission:
    """Return the record in ``file``.

    Raises:
        LaunchError: If the file is not a record.
    """
    try:
        fields = json.loads(read_text(file))
        # The run folder may have been moved since the submission.
        return Submission(**{**fields, "folder": str(file.parent)})
    except (OSError, ValueError, TypeError) as error:
        raise LaunchError(f"{file} is not a record of a submission: {error}") from error


def submissions_of(run_dir: Path) -> list[Submission]:
    """Return the submissions of one run folder, oldest first."""
    return [read_record(file) for file in sorted((run_dir / "launch").glob(f"*/{RECORD}"))]


def submissions_below(root: Path) -> list[Submission]:
    """Return every submission in the run folders below ``root``, oldest first."""
    records = [read_record(file) for file in root.glob(f"**/launch/*/{RECORD}")]
    return sorted(records, key=lambda record: record.created)


def find_submission(target: str, root: Path, *, is_newest_only: bool = True) -> list[Submission]:
    """Return the submissions that a target names.

    Args:
        target: A job id, an array's id, a run folder (its newest training and evaluation) or a folder of
            run folders.
        root: Folder to search for run folders if ``target`` is an id.
        is_newest_only: Whether to skip older submissions of a run folder.

    Raises:
        LaunchError: If no submission is found.
    """
    folder = Path(target)
    if folder.is_dir():
        own = submissions_of(folder)
        found = own or submissions_below(folder)
        found = newest_of(found) if is_newest_only else found
        missing = f"{target} holds no submission: it is not a run folder of this launcher."
    else:
        found = [s for s in submissions_below(root) if target in (s.job_id, s.job_id.split("_")[0])]
        missing = f"{target} is neither a folder nor a job in {root}. Give a run folder, or --runs DIR."
    if not found:
        raise LaunchError(missing)
    return found


def newest_of(records: list[Submission]) -> list[Submission]:
    """Return the newest submission of each kind in each run folder."""
    return list({(record.run_dir, record.kind): record for record in records}.values())
