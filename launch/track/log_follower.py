"""LogFollower, last_lines: show a growing log file on the terminal, like ``tail -F``, also after restarts."""

import codecs
import sys
from collections import deque
from pathlib import Path
from typing import TextIO


class LogFollower:
    """Prints the text that was appended to a file since the last call.

    Args:
        path: The log, which need not exist yet.
        stream: Stream that the text is written to.
    """

    def __init__(self, path: Path, stream: TextIO | None = None) -> None:
        self._path = path
        self._stream = stream or sys.stdout
        self._position = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def show_new(self) -> bool:
        """Print the new text; return whether there was new text."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._position)
                new = file.read()
        except FileNotFoundError:
            return False
        if not new:
            return False
        self._position += len(new)
        self._stream.write(self._decoder.decode(new))
        self._stream.flush()
        return True


def last_lines(path: Path, count: int) -> list[str]:
    """Return the last lines of a file; none if the file does not exist."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", errors="replace") as file:
        return [line.rstrip("\n") for line in deque(file, maxlen=count)]  # A log may not fit into memory.
