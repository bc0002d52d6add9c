"""Job: the object that submitit pickles and every rank runs, on this machine or on a cluster.

A job joins the ranks, calls ``engine.train(cfg)`` or ``engine.evaluate(cfg)`` and records how the rank ended.
The state for a restart is in the run folder. A job that SLURM requeues after a node failure starts from the
original pickle.
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

from tsn_tsm_plugin.errors import (
    AnnotationError,
    CheckpointError,
    ConfigError,
    UnknownComponentError,
    first_line,
)

from ..cluster import slurm_client as slurm
from ..cluster.job_requests import requeue
from ..cluster.options import Options
from ..errors import FAILED, USER_ERROR, LaunchError
from .node_check import (
    WAYS_ON,
    UnhealthyNodeError,
    check_links,
    check_ring,
    fault_of_node,
    gloo_addresses,
)
from .outcome import (
    FAILURES,
    FINISHED,
    MISTAKEN,
    RAISED,
    STOPPED,
    UNHEALTHY,
    outcome_file,
    read_outcomes,
    write_outcome,
)
from .rendezvous import master_address, open_store
from .restart_guard import RestartLog
from .stop_signals import StopSignalListener, end_children, exit_at_once

TERMINATED = 128 + signal.SIGTERM
# SLURM kills KillWait seconds after its SIGTERM; the default is 30.
_TERM_GRACE_SECONDS = 20.0
_REQUEUE_WAIT_SECONDS = 60.0
# End a job whose starts together ran for this many times --signal-delay without a new step.
_PATIENCE = 3.0
# Errors that occur again after a restart.
_MISTAKES = (AnnotationError, CheckpointError, ConfigError, UnknownComponentError)


def _record_failure(folder: Path, rank: int, error: BaseException) -> None:
    ending, node = RAISED, None
    if isinstance(error, UnhealthyNodeError):
        ending, node = UNHEALTHY, ",".join(error.nodes)
    elif isinstance(error, LaunchError):
        ending = MISTAKEN
    text = traceback.format_exc() if ending == RAISED else str(error)
    write_outcome(folder, rank, ending, error=text, node=node)
    print(text, file=sys.stderr, flush=True)


def _is_left_to_us(job_id: str, *, is_orderly: bool) -> bool:
    """Return whether a job that got SIGTERM still runs and should run again."""
    deadline = time.monotonic() + _TERM_GRACE_SECONDS
    while True:
        try:
            state = slurm.job_state(job_id)
            return state.state == "RUNNING" and (is_orderly or state.is_preempted)
        except LaunchError as error:
            if time.monotonic() > deadline or not isinstance(error, slurm.NoAnswerError):
                print(f"launch: SLURM cannot be asked who ends this job. {error}", flush=True)
                return False
        time.sleep(1.0)


def _seconds_left(at_least: float) -> float:
    """Return the seconds until the job's time limit, if known, but no less than ``at_least``."""
    end = os.environ.get("SLURM_JOB_END_TIME", "")
    return max(float(end) - time.time() if end.isdigit() else 0.0, at_least)


def restart_count() -> int:
    """Return how often SLURM has started this job again."""
    return int(os.environ.get("SLURM_RESTART_COUNT", "0"))


@dataclass(frozen=True)
class Job:
    """One training or evaluation on any number of ranks.

    Attributes:
        kind: ``"train"``, ``"evaluate"`` or ``"profile"``.
        config_file: The resolved config, as it was when the job was submitted.
        run_dir: The run folder.
        options: The job's options, with its resolved size.
    """

    kind: str
    config_file: str
    run_dir: str
    options: Options

    def __call__(self, job_env: JobEnvironment | None = None) -> dict[str, Any]:
        """Run this rank; end the process instead of returning if the work is not finished.

        Args:
            job_env: Rank and job of this process; by default from submitit's environment variables.
        """
        job_env = job_env or JobEnvironment()
        rank = job_env.global_rank
        folder = self._folder(job_env)
        folder.mkdir(parents=True, exist_ok=True)
        # After a requeue, the outcome of the earlier start holds no longer.
        outcome_file(folder, rank).unlink(missing_ok=True)
        job_env.paths.result_pickle.unlink(missing_ok=True)
        started = time.time()

        def peer_failed() -> bool:
            return any(o.ending in FAILURES and o.time > started - 1 for o in read_outcomes(folder))

        watch = StopSignalListener(
            on_overdue=lambda watch: self._depart(watch, job_env, orderly=False), is_hopeless=peer_failed
        )
        try:
            result = self._work(job_env, watch)
        except BaseException as error:
            self._note_end(job_env, str(error))
            _record_failure(folder, rank, error)
            # Skip the shutdown of process group and interpreter: both can wait for a lost peer.
            exit_at_once(USER_ERROR if isinstance(error, LaunchError) else FAILED)
        watch.leave()
        self._note_end(job_env)
        write_outcome(folder, rank, FINISHED)
        end_children()
        return result

    @staticmethod
    def _folder(job_env: JobEnvironment) -> Path:
        """Return the folder of the outcomes of this job's ranks."""
        return job_env.paths.folder / job_env.job_id

    def _restarts(self, job_env: JobEnvironment) -> RestartLog:
        return RestartLog(self._folder(job_env) / "restarts.jsonl", Path(self.run_dir))

    def _note_end(self, job_env: JobEnvironment, error: str = "") -> None:
        if job_env.global_rank == 0:
            self._restarts(job_env).end(error)

    def _work(self, job_env: JobEnvironment, watch: StopSignalListener) -> dict[str, Any]:
        from tsn_tsm_plugin import distributed, engine
        from tsn_tsm_plugin.config import load_cfg

        if job_env.global_rank == 0:
            # An evaluation has no training steps, so only max_requeues limits its restarts.
            patience = _PATIENCE * self.options.signal_delay if self.kind == "train" else float("inf")
            self._restarts(job_env).begin(
                restart_count(), max_requeues=self.options.max_requeues, patience_seconds=patience
            )
        is_checked = job_env.cluster == "slurm" and self.options.health_check > 0
        if is_checked:
            self._check_node(job_env)
        try:
            self._join(job_env, watch)
            if is_checked and job_env.num_tasks > 1:
                check_ring(self.options.health_check)
        except RuntimeError as error:
            if not is_checked:
                raise
            said = f"the ranks form no process group: {first_line(error)}. {WAYS_ON}"
            raise UnhealthyNodeError(said, []) from error
        try:
            cfg = load_cfg(self.config_file)
            if self.kind != "train":
                result = getattr(engine, self.kind)(cfg)
            else:
                before_limit = max(self.options.signal_delay - 15.0, 5.0)
                watch.grant(before_limit=before_limit, after_term=_TERM_GRACE_SECONDS)
                result = engine.train(cfg, stop_requested=watch.requested)
        except engine.TrainingStopped as stopped:
            watch.leave()
            write_outcome(self._folder(job_env), job_env.global_rank, STOPPED)
            print(f"launch: {stopped}", flush=True)
            self._depart(watch, job_env, orderly=True)
        except _MISTAKES as error:
            raise LaunchError(str(error)) from error
        # Leave together: srun ends a job if one rank exits long before the other ranks.
        distributed.barrier()
        # Threads of a live gloo group sometimes abort the interpreter's exit, so that a finished job fails.
        distributed.destroy()
        return result

    def _check_node(self, job_env: JobEnvironment) -> None:
        nodes = job_env.hostnames
        fault = fault_of_node(Path(self.run_dir), num_gpus=self.options.gpus_per_node)
        if fault:
            node = nodes[job_env.node]
            raise UnhealthyNodeError(f"node {node} is not healthy: {fault}", [node])
        if job_env.num_nodes == 1 or job_env.local_rank:
            return
        rendezvous = [] if job_env.node else [master_address(nodes[0])[0]]
        check_links(
            self._folder(job_env) / f"links_{restart_count()}",
            nodes,
            job_env.node,
            addresses=[*rendezvous, *gloo_addresses()],
            start_seconds=self.options.collective_timeout,
            seconds=self.options.health_check,
        )

    def _join(self, job_env: JobEnvironment, watch: StopSignalListener) -> None:
        if job_env.num_tasks == 1:
            return
        from tsn_tsm_plugin import distributed

        os.environ.update(
            RANK=str(job_env.global_rank),
            WORLD_SIZE=str(job_env.num_tasks),
            LOCAL_RANK=str(job_env.local_rank),
        )
        local = job_env.cluster == "local"
        store, line = open_store(
            self._folder(job_env) / f"rendezvous_{restart_count()}.json",
            rank=job_env.global_rank,
            world_size=job_env.num_tasks,
            hostname="localhost" if local else job_env.hostnames[0],
            timeout_seconds=self.options.collective_timeout,
            is_hopeless=watch.is_hopeless,
        )
        print(f"launch: rank {job_env.global_rank} of {job_env.num_tasks}, {line}", flush=True)
        distributed.init_process_group_from_env(timeout_seconds=self.options.collective_timeout, store=store)

    def _depart(self, watch: StopSignalListener, job_env: JobEnvironment, *, orderly: bool) -> NoReturn:
        """End this process after a signal; rank 0 requeues the job if SLURM does not.

        After USR2 the launcher requeues. After SIGTERM SLURM requeues or cancels the job, except in the grace
        time of a preemption: then the launcher requeues too. A rank whose peer has died also gets SIGTERM;
        that job must fail.
        """
        self._note_end(job_env)
        job_id = slurm.own_job_id() if job_env.cluster == "slurm" else ""
        requested = watch.received == signal.SIGUSR2
        is_main = job_env.global_rank == 0
        if job_id and is_main and (requested or _is_left_to_us(job_id, is_orderly=orderly)):
            self._requeue(job_id, self._folder(job_env), watch)
        if job_id and requested:
            # A rank that exits now would end the job before the requeue. Rank 0 may retry until the limit.
            left = 0.0 if is_main else _seconds_left(self.options.signal_delay)
            watch.await_term(left + _REQUEUE_WAIT_SECONDS)
        exit_at_once(TERMINATED)

    def _requeue(self, job_id: str, folder: Path, watch: StopSignalListener) -> None:
        """Put the job back into the queue; end the process if the limit is reached or SLURM refuses."""
        limit = self.options.max_requeues
        if restart_count() < limit:
            deadline = time.monotonic() + _seconds_left(self.options.signal_delay)
            complaint = requeue(
                job_id, is_over=lambda: time.monotonic() > deadline or watch.received == signal.SIGTERM
            )
            if not complaint:
                print(f"launch: requeued job {job_id}", flush=True)
                return
            print(f"launch: job {job_id} is not requeued: {complaint}", flush=True)
            exit_at_once(TERMINATED)
        reason = f"requeued {restart_count()} times already (--max-requeues {limit}); given up"
        write_outcome(folder, 0, MISTAKEN, error=reason)
        print(f"launch: {reason}", flush=True)
        exit_at_once(FAILED)
