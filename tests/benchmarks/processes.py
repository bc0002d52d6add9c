"""Work in separate processes whose end is reported, so that nothing waits forever."""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

_SECONDS_TO_END = 10


class Partner:
    """A process at the other end of a pipe."""

    def __init__(self, process: BaseProcess, pipe: Connection) -> None:
        self._process = process
        self._pipe = pipe

    def ask(self, request: Any) -> Any:
        """Send something, and return the answer to it."""
        # A process that has ended cannot be written to; what it sent before can still be read.
        with contextlib.suppress(OSError):
            self._pipe.send(request)
        return self.answer()

    def answer(self) -> Any:
        """Wait for the next thing that the process sends, and return it.

        Raises:
            SystemExit: If the process has ended instead; what it died of it has written to stderr itself.
        """
        try:
            return self._pipe.recv()
        except (EOFError, OSError):
            self._process.join(_SECONDS_TO_END)
            raise SystemExit(
                f"A process of this benchmark ended with exit code {self._process.exitcode} before it gave "
                "its figures. Its output is above; a negative number is the signal that ended it, and -9 "
                "often means that memory ran out."
            ) from None

    def end(self) -> None:
        """Send the end of the work, and end the process."""
        with contextlib.suppress(OSError):
            self._pipe.send(None)
        self._process.join(_SECONDS_TO_END)
        self._process.terminate()


@contextmanager
def partner(serve: Callable[..., None], *arguments: Any) -> Iterator[Partner]:
    """Start a process that runs ``serve(pipe, *arguments)``, where ``None`` from the pipe ends it."""
    context = get_context("spawn")
    mine, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs, *arguments), daemon=True)
    process.start()
    # If the child's end stayed open here, the death of the process would not end the pipe.
    theirs.close()
    found = Partner(process, mine)
    try:
        yield found
    finally:
        found.end()


def in_fresh_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """Return what a function returns in a process that has done nothing else.

    Raises:
        SystemExit: If that process ended without returning.
    """
    with partner(_send_result, function, arguments) as process:
        return process.answer()


def _send_result(pipe: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    pipe.send(function(*arguments))
