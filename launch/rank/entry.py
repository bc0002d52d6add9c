"""First file of every rank: holds back signals, then lets submitit run the pickled job from this code.

Run by path, as ``python -u .../launch/rank/entry.py -u -m submitit.core._submit FOLDER``. Two things must
happen before anything else is imported:

* A process that has no handler yet is ended by USR2, which SLURM sends before the time limit. Blocked, the
  signals stay pending until ``launch.rank.stop_signals`` waits for them, however long ``import torch`` takes;
  the threads that libraries start while they are imported inherit the block.
* ``python -m`` looks into the current directory first, which is the user's checkout. The code of a job is the
  snapshot that this file lies in, so that folder goes first instead.
"""

import logging
import signal
import sys
from pathlib import Path

signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2, signal.SIGTERM})

if __name__ == "__main__":
    here = Path(__file__).resolve()
    # ROOT/launch/rank/ of a checkout, or ROOT/tsn_tsm_plugin/launcher/rank/ of an installed package.
    sys.path[0] = str(here.parents[2] if here.parents[1].name == "launch" else here.parents[3])
    from submitit.core.submission import submitit_main

    logging.getLogger("submitit").setLevel(logging.ERROR)
    sys.argv = ["submitit", sys.argv[-1]]
    submitit_main()
