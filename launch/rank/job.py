"""The job that submitit pickles: one object, run by every rank, here as on a cluster.

It joins the ranks, calls ``engine.train(cfg)`` or ``engine.evaluate(cfg)`` and records how the rank ended.
What it needs to go on after an interruption lies in the run folder, never in the pickle: a job that SLURM
requeues after a node failure starts again from the original one.
"""

import os
import signal
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from submitit import JobEnvironment

from ..cluster import slurm_client as slurm
from ..errors import FAILED, USER_ERROR, LaunchError
from .outcome import (
    FAILURES,
    FINISHED,
    MISTAKEN,
    RAISED,
    STOPPED,
    forget_outcome,
    read_outcomes,
    write_outcome,
)
from .restart_guard import RestartLog
from .stop_signals import StopWatch, end_children, exit_at_once

TERMINATED = 128 + signal.SIGTERM
# SLURM kills KillWait seconds after its SIGTERM; the default is 30.
_TERM_GRACE_SECONDS = 20.0
_REQUEUE_WAIT_SECONDS = 60.0


class _StoppedAsAsked(Exception):  # noqa: N818 - it is no error
    """Training has left a checkpoint because a signal asked it to stop."""


def _mistakes() -> tuple[type[Exception], ...]:
    """Return the errors that starting again will not mend."""
    from tsn_tsm_plugin import errors

    return (errors.ConfigError, errors.AnnotationError, errors.CheckpointError, errors.UnknownComponentError)


def _record_failure(folder: Path, rank: int, error: BaseException) -> None:
    is_mistake = isinstance(error, LaunchError)
    text = str(error) if is_mistake else traceback.format_exc()
    write_outcome(folder, rank, MISTAKEN if is_mistake else RAISED, error=text)
    print(text, file=sys.stderr, flush=True)


def _is_left_to_us(job_id: str, *, is_orderly: bool) -> bool:
    """Tell whether a job that got SIGTERM still runs and should run again."""
    state = slurm.job_state(job_id)
    return state.state == "RUNNING" and (is_orderly or state.is_preempted)


def restart_count() -> int:
    """Return how often SLURM has started this job again."""
    return int(os.environ.get("SLURM_RESTART_COUNT", "0"))


@dataclass(frozen=True)
class Job:
    """One training or evaluation, on however many ranks.

    Attributes:
        kind: ``"train"`` or ``"evaluate"``.
        config_file: The resolved config, as it was when the job was submitted.
        run_dir: The run folder.
        collective_timeout: Seconds a rank waits for a lost peer.
        signal_delay: Seconds between the stop signal and the time limit.
        max_requeues: Restarts after which the job is given up.
    """

    kind: str
    config_file: str
    run_dir: str
    collective_timeout: float
    signal_delay: float
    max_requeues: int

    def __call__(self, place: JobEnvironment | None = None) -> dict[str, Any]:
        """Run this rank; does not return unless the work is finished.

        Args:
            place: Which rank of which job this is; by default as submitit's environment variables say.
        """
        place = place or JobEnvironment()
        rank = place.global_rank
        folder = place.paths.folder
        folder.mkdir(parents=True, exist_ok=True)
        forget_outcome(folder, rank)
        place.paths.result_pickle.unlink(missing_ok=True)
        started = time.time()

        def peer_failed() -> bool:
            return any(o.ending in FAILURES and o.time > started - 1 for o in read_outcomes(folder))

        watch = StopWatch(
            on_overdue=lambda watch: self._depart(watch, place, orderly=False), is_hopeless=peer_failed
        )
        try:
            result = self._work(place, watch)
        except _StoppedAsAsked as stopped:
            watch.leave()
            write_outcome(folder, rank, STOPPED)
            print(f"launch: {stopped}", flush=True)
            self._depart(watch, place, orderly=True)
        except BaseException as error:
            _record_failure(folder, rank, error)
            # Neither the process group nor the interpreter is shut down: both can wait for a lost peer.
            exit_at_once(USER_ERROR if isinstance(error, LaunchError) else FAILED)
        watch.leave()
        write_outcome(folder, rank, FINISHED)
        end_children()
        return result

    def _work(self, place: JobEnvironment, watch: StopWatch) -> dict[str, Any]:
        from tsn_tsm_plugin import distributed, engine
        from tsn_tsm_plugin.config import load_cfg

        restarts = RestartLog(place.paths.folder / "restarts.jsonl", Path(self.run_dir))
        if place.global_rank == 0:
            restarts.begin(
                restart_count(), max_requeues=self.max_requeues, must_progress=self.kind == "train"
            )
        self._join(place, watch)
        try:
            cfg = load_cfg(self.config_file)
            if self.kind == "evaluate":
                result = engine.evaluate(cfg)
            else:
                watch.grant(before_limit=max(self.signal_delay - 15.0, 5.0), after_term=_TERM_GRACE_SECONDS)
                result = engine.train(cfg, stop_requested=watch.requested)
        except engine.TrainingStopped as stopped:
            raise _StoppedAsAsked(str(stopped)) from None
        except _mistakes() as error:
            raise LaunchError(str(error)) from error
        # srun ends a job whose ranks leave far apart.
        distributed.barrier()
        # Left standing, gloo's threads abort the interpreter's exit now and then, and a finished job fails.
        distributed.destroy()
        return result

    def _join(self, place: JobEnvironment, watch: StopWatch) -> None:
        if place.num_tasks == 1:
            return
        from tsn_tsm_plugin import distributed

        from .rendezvous import open_store

        os.environ.update(
            RANK=str(place.global_rank), WORLD_SIZE=str(place.num_tasks), LOCAL_RANK=str(place.local_rank)
        )
        local = place.cluster == "local"
        store, line = open_store(
            place.paths.folder / f"rendezvous_{restart_count()}.json",
            rank=place.global_rank,
            world_size=place.num_tasks,
            hostname="localhost" if local else place.hostnames[0],
            timeout_seconds=self.collective_timeout,
            is_hopeless=watch.is_hopeless,
        )
        print(f"launch: rank {place.global_rank} of {place.num_tasks}, {line}", flush=True)
        distributed.init_process_group_from_env(timeout_seconds=self.collective_timeout, store=store)

    def _depart(self, watch: StopWatch, place: JobEnvironment, *, orderly: bool) -> NoReturn:
        """Leave after a signal; rank 0 requeues the job where nobody else will. Does not return.

        After USR2 the launcher requeues. After SIGTERM SLURM requeues or cancels by itself, unless it leaves
        the job a grace time, in which a job that ends is not requeued. A rank whose peer has died gets
        SIGTERM, too: that job is to fail.
        """
        job_id = slurm.own_job_id() if place.cluster == "slurm" else ""
        requested = watch.received == signal.SIGUSR2
        is_main = place.global_rank == 0
        if job_id and is_main and (requested or _is_left_to_us(job_id, is_orderly=orderly)):
            self._requeue(job_id, place.paths.folder)
        if job_id and requested:
            # A rank that left now would end the job before the requeue does.
            watch.await_term(_REQUEUE_WAIT_SECONDS)
        exit_at_once(TERMINATED)

    def _requeue(self, job_id: str, folder: Path) -> None:
        if restart_count() < self.max_requeues:
            complaint = slurm.requeue(job_id)
            print(f"launch: {complaint or f'requeued job {job_id}'}", flush=True)
            return
        reason = f"requeued {restart_count()} times already (--max-requeues {self.max_requeues}); given up"
        write_outcome(folder, 0, MISTAKEN, error=reason)
        print(f"launch: {reason}", flush=True)
        exit_at_once(FAILED)
