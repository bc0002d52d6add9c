"""First file that every rank runs: block signals, then let submitit run the pickled job from this code.

Run by path, as ``python -u .../launch/rank/entry.py -u -m submitit.core._submit FOLDER``. Two steps must
precede all other imports:

* Block signals. SLURM sends USR2 before the time limit, and USR2 ends a process without a handler. Blocked
  signals stay pending until ``launch.rank.stop_signals`` waits for them, however long ``import torch`` takes.
  Threads that libraries start during their import inherit the block.
* Put the snapshot that holds this file first on ``sys.path``. ``python -m`` would import from the current
  directory first, which is the user's checkout.
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
