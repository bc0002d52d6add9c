"""Missing parts of Windows and macOS are reported at run time, in a sentence, and never at import.

Each case runs in a process of its own, in which the names that a system lacks are gone.
"""

import subprocess
import sys
from pathlib import Path

import pytest
from support.jobs import job_environment
from support.runs import write_dataset, write_recipe

# Other packages are imported before: they know other systems by other ways.
_IMPORTS = """
import fvcore.common.config, matplotlib.pyplot, pytorchvideo, tensorboard, timm, torchvision
"""

_WINDOWS = """
import multiprocessing, os, signal, sys
sys.modules["fcntl"] = None
for name in ("pthread_sigmask", "sigpending", "sigtimedwait", "sigwait", "sigwaitinfo"):
    delattr(signal, name)
for name in ("SIGUSR1", "SIGUSR2", "SIGHUP", "SIGKILL"):
    delattr(signal, name)
signal.Signals = [number for number in signal.Signals if number.name in ("SIGINT", "SIGTERM")]
del os.O_DIRECTORY, os.sched_getaffinity
multiprocessing.get_all_start_methods = lambda: ["spawn"]
"""

_MACOS = """
import signal
del signal.sigtimedwait, signal.sigwaitinfo
"""


def run(repository: Path, folder: Path, script: str, *words: object) -> subprocess.CompletedProcess[str]:
    path = folder / "case.py"
    path.write_text(script)
    variables = job_environment(folder)
    variables["PYTHONPATH"] += f":{repository}"
    return subprocess.run(
        [sys.executable, path, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=120,
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder), **variables},
    )


@pytest.mark.slow
def test_without_posix_a_run_trains_and_names_what_is_missing(repository, tmp_path):
    script = (
        _IMPORTS
        + _WINDOWS
        + (
            "from tsn_tsm_plugin.config import load_cfg\n"
            "from tsn_tsm_plugin.data.build import build_loader\n"
            "from tsn_tsm_plugin.log import setup_logging\n"
            "from tsn_tsm_plugin.tools.train import main\n"
            "setup_logging()\n"
            "opts = [*sys.argv[3:], 'DATA_LOADER.NUM_WORKERS', '1']\n"
            "loader = build_loader(load_cfg(sys.argv[2], opts), 'train', world_size=1, rank=0)\n"
            "print(loader.multiprocessing_context.get_start_method())\n"
            "sys.exit(main(sys.argv[1:]))\n"
        )
    )
    recipe = write_recipe(tmp_path, data=write_dataset(tmp_path / "data", num_train=4, num_val=2))
    opts = ["OUTPUT_DIR", tmp_path / "run", "SOLVER.MAX_EPOCH", 1]
    ended = run(repository, tmp_path, script, "--cfg", recipe, *opts)

    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "run" / "results.json").is_file()
    assert ended.stdout.startswith("spawn\n")
    assert "DATA_LOADER.START_METHOD fork does not exist here" in ended.stderr
    assert "Ctrl-C ends the loader's workers" in ended.stderr
    assert "this system has no POSIX file locks" in ended.stderr


def test_without_posix_the_launcher_names_the_command_that_trains(repository, tmp_path):
    script = _WINDOWS + "from launch.submit import main\nsys.exit(main())\n"
    ended = run(repository, tmp_path, script, "--cfg", "recipe.yaml")

    assert ended.returncode == 2
    assert "needs POSIX signals, which this system does not have" in ended.stderr
    assert "tsn-tsm-train" in ended.stderr


@pytest.mark.parametrize("number", ["SIGUSR2", "SIGTERM"])
def test_without_timed_waits_the_launcher_still_hears_the_scheduler(repository, tmp_path, number):
    script = _MACOS + (
        "import os, time\n"
        "from launch.rank.stop_signals import StopSignalListener\n"
        "watch = StopSignalListener(on_overdue=lambda watch: os._exit(7), is_hopeless=lambda: False)\n"
        "watch.grant(before_limit=30, after_term=30)\n"
        f"os.kill(os.getpid(), signal.{number})\n"
        "while not watch.requested():\n"
        "    time.sleep(0.01)\n"
        "watch.leave()\n"
        "watch.await_term(0.5)\n"
        "print(signal.Signals(watch.received).name)\n"
    )
    ended = run(repository, tmp_path, script)

    assert (ended.returncode, ended.stdout) == (0, f"{number}\n"), ended.stderr
