"""submit: run the launcher's command line in this process."""

from typing import Any, NamedTuple

import pytest


class Ended(NamedTuple):
    code: int
    out: str
    err: str


def submit(capsys: pytest.CaptureFixture[str], *words: Any) -> Ended:
    """Run ``python launch/submit.py WORDS`` in this process and return its exit code and output."""
    from launch.commands.parsers import run

    code = run([str(word) for word in words])
    return Ended(code, *capsys.readouterr())
