"""after, without_earlier_jobs: options of a job that waits for another job."""

from dataclasses import replace

from .options import Options

# kill-on-invalid-dep cancels a job whose dependency can no longer be met; otherwise the job waits forever.
_KEYS = ("dependency", "kill-on-invalid-dep")


def after(options: Options, job_id: str) -> Options:
    """Return options of a job that starts if job ``job_id`` succeeds and is cancelled otherwise."""
    waits = [f"dependency=afterok:{job_id}", "kill-on-invalid-dep=yes"]
    return replace(options, sbatch=[*options.sbatch, *waits])


def without_earlier_jobs(options: Options) -> Options:
    """Return the options without dependencies on other jobs; keep ``singleton`` and similar ones."""
    if not any(word.startswith("dependency=after") for word in options.sbatch):
        return options
    kept = [word for word in options.sbatch if word.partition("=")[0] not in _KEYS]
    return replace(options, sbatch=kept)
