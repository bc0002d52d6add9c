"""run_fresh: run a script in a process that has imported torch and torchvision, but not PyTorchVideo or us.

A fork server holds the two slow imports, so a test of import-time behaviour takes a fraction of a second.
"""

import contextlib
import io
import multiprocessing
import os
import traceback
from multiprocessing.connection import Connection

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["torch", "torchvision"])


def _execute(script: str, environment: dict[str, str], answer: Connection) -> None:
    os.environ.update(environment)
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            exec(compile(script, "<script>", "exec"), {"__name__": "script"})
        answer.send((printed.getvalue(), ""))
    except BaseException:
        answer.send((printed.getvalue(), traceback.format_exc()))


def run_fresh(script: str, **environment: str) -> str:
    """Return the output of ``script``; if the script raises, fail the test with its traceback."""
    receiver, sender = _CONTEXT.Pipe(duplex=False)
    process = _CONTEXT.Process(target=_execute, args=(script, environment, sender))
    process.start()
    sender.close()
    try:
        printed, failure = receiver.recv()
    finally:
        process.join()
    assert not failure, failure
    return printed
