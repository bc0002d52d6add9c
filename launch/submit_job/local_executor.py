"""GroupExecutor, GroupController: submitit's local executor, with ranks that end together.

submitit's own controller waits for every rank: if a rank dies, its peers wait until collectives time out.
"""

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from submitit.local.local import Controller, LocalExecutor, LocalJob

_GRACE_SECONDS = 15.0
_POLL_SECONDS = 0.1
# submitit needs a limit; a local run has none.
_NO_LIMIT_MINUTES = 10 * 365 * 24 * 60


class GroupController(Controller):
    """Starts the ranks, passes SIGTERM on to the ranks, and ends all ranks if one fails."""

    def wait(self, freq: int = 24) -> Sequence[int | None]:
        """Wait for every rank; if a rank fails, give its peers a moment to stop, then kill them."""
        deadline = float("inf")
        while True:
            codes = [task.poll() for task in self.tasks]
            if all(code is not None for code in codes):
                return codes
            if deadline == float("inf") and any(codes):
                self._end_ranks("terminate")
                deadline = time.monotonic() + _GRACE_SECONDS
            if time.monotonic() > deadline:
                self._end_ranks("kill")
            time.sleep(_POLL_SECONDS)

    def _end_ranks(self, how: str) -> None:
        for task in self.tasks:
            if task.poll() is None:
                getattr(task, how)()


class GroupExecutor(LocalExecutor):
    """submitit's local executor with :class:`GroupController` and the GPUs that this shell sees."""

    @classmethod
    def name(cls) -> str:
        """Return the name by which submitit finds the job environment."""
        return "local"

    def _submit_command(self, command: str) -> LocalJob:  # type: ignore[type-arg]
        ranks = self.parameters.get("tasks_per_node", 1)
        environment = dict(
            self.parameters["environment"],
            SUBMITIT_EXECUTOR="local",
            SUBMITIT_LOCAL_COMMAND=command,
            SUBMITIT_LOCAL_NTASKS=str(ranks),
            SUBMITIT_LOCAL_JOB_NUM_NODES="1",
            SUBMITIT_LOCAL_NODEID="0",
            SUBMITIT_LOCAL_TIMEOUT_S=str(60 * _NO_LIMIT_MINUTES),
            SUBMITIT_LOCAL_SIGNAL_DELAY_S="0",
            SUBMITIT_LOCAL_WITH_SHELL="",
            SUBMITIT_STDERR_TO_STDOUT="1",
        )
        # Use a new session: Ctrl-C reaches only the launcher, which sends one signal to the controller.
        process = subprocess.Popen(
            [sys.executable, str(Path(__file__)), str(self.folder)], env=environment, start_new_session=True
        )
        return LocalJob(self.folder, str(process.pid), tasks=list(range(ranks)), process=process)


def main(folder: str) -> int:
    """Run the ranks of the job in ``folder``; return 0 if all of them finished."""
    controller = GroupController(Path(folder))
    try:
        controller.start_tasks()
        codes = controller.wait()
    finally:
        controller.kill_tasks()
    return 1 if any(codes) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
