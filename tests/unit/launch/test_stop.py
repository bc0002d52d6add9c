"""The watch over signals, each case in a process of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

_PROLOGUE = """
import multiprocessing, os, signal, sys, time
from launch.rank.stop_signals import StopSignalListener, end_children

def work():
    time.sleep(60)

def leave(watch):
    print("overdue after", signal.Signals(watch.received).name, flush=True)
    os._exit(7)

if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2, signal.SIGTERM})
    hopeless = "hopeless" in sys.argv
"""


def run(repository: Path, tmp_path: Path, body: str, *words: str) -> subprocess.CompletedProcess[str]:
    script = tmp_path / "case.py"
    script.write_text(_PROLOGUE + "".join(f"    {line}\n" for line in body.strip().splitlines()))
    return subprocess.run(
        [sys.executable, script, *words], capture_output=True, text=True, timeout=60, cwd=repository,
        env={"PYTHONPATH": str(repository), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip


def test_a_signal_before_there_is_anything_to_save_ends_the_process_at_once(repository, tmp_path):
    ended = run(repository, tmp_path, """
os.kill(os.getpid(), signal.SIGUSR2)
StopSignalListener(on_overdue=leave, is_hopeless=lambda: False)
time.sleep(30)
""")  # fmt: skip

    assert (ended.returncode, ended.stdout) == (7, "overdue after SIGUSR2\n")


def test_a_signal_during_the_work_is_a_question_that_the_work_answers(repository, tmp_path):
    ended = run(repository, tmp_path, """
watch = StopSignalListener(on_overdue=leave, is_hopeless=lambda: False)
watch.grant(before_limit=30, after_term=30)
assert not watch.requested()
os.kill(os.getpid(), signal.SIGTERM)
while not watch.requested():
    time.sleep(0.01)
watch.leave()
print("saved")
""")  # fmt: skip

    assert (ended.returncode, ended.stdout) == (0, "saved\n"), ended.stderr


def test_work_that_reaches_no_boundary_is_ended_after_its_grace(repository, tmp_path):
    ended = run(repository, tmp_path, """
watch = StopSignalListener(on_overdue=leave, is_hopeless=lambda: False)
watch.grant(before_limit=0.5, after_term=30)
os.kill(os.getpid(), signal.SIGUSR2)
time.sleep(30)
""")  # fmt: skip

    assert (ended.returncode, ended.stdout) == (7, "overdue after SIGUSR2\n")


def test_nobody_waits_for_a_boundary_that_a_dead_peer_will_never_reach(repository, tmp_path):
    ended = run(repository, tmp_path, """
watch = StopSignalListener(on_overdue=leave, is_hopeless=lambda: hopeless)
watch.grant(before_limit=600, after_term=600)
os.kill(os.getpid(), signal.SIGTERM)
time.sleep(30)
""", "hopeless")  # fmt: skip

    assert (ended.returncode, ended.stdout) == (7, "overdue after SIGTERM\n")


@pytest.mark.parametrize("start_method", ["fork", "spawn", "forkserver"])
def test_children_outlive_both_signals_until_they_are_ended(repository, tmp_path, start_method):
    ended = run(repository, tmp_path, """
watch = StopSignalListener(on_overdue=leave, is_hopeless=lambda: False)
watch.grant(before_limit=30, after_term=30)
child = multiprocessing.get_context(sys.argv[1]).Process(target=work, daemon=True)
child.start()
time.sleep(1)
for number in (signal.SIGUSR2, signal.SIGTERM):
    os.kill(child.pid, number)
child.join(1)
print("alive" if child.is_alive() else child.exitcode)
end_children()
child.join(5)
print(child.exitcode)
""", start_method)  # fmt: skip

    assert (ended.returncode, ended.stdout) == (0, "alive\n-9\n"), ended.stderr


def test_an_interrupted_wait_that_returns_no_known_signal_stops_nothing(repository, tmp_path):
    ended = run(repository, tmp_path, """
import types
answer = types.SimpleNamespace(si_signo=2112414368)
signal.sigtimedwait = lambda signals, seconds: (time.sleep(0.05), answer)[1]
watch = StopSignalListener(on_overdue=leave, is_hopeless=lambda: False)
time.sleep(0.5)
print(watch.requested(), flush=True)
os._exit(0)
""")  # fmt: skip

    assert (ended.stdout, ended.stderr) == ("False\n", "")
