"""Work of ranks in the tests of the launcher: stand-ins for a training, pickled by reference."""

import os
import signal
import time


def greet() -> str:
    print(
        f"rank {os.environ['SUBMITIT_LOCAL_GLOBALID']} of {os.environ['SUBMITIT_LOCAL_NTASKS']}", flush=True
    )
    return "done"


def rank_one_dies_while_the_others_work(how: str) -> None:
    if os.environ["SUBMITIT_LOCAL_GLOBALID"] == "1":
        if how == "raise":
            raise RuntimeError("boom on rank 1")
        os.kill(os.getpid(), signal.SIGKILL)
    # Behave like a rank that has nothing to save when a peer has died.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    time.sleep(120)
