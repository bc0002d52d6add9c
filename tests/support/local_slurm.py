"""LocalSlurm: a private SLURM of several nodes on one machine, for tests.

    with LocalSlurm(SlurmShape(nodes=4)) as cluster:      # sets SLURM_CONF
        subprocess.run(["sinfo"])
        cluster.kill_node("n3"); cluster.start_node("n3")

Works as root and as an ordinary user, without systemd, cgroups or DNS. All files are in one folder below
/tmp. The daemons are children of this process, end with it, and are ended by their process ids.
"""

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from support.slurm_config import SlurmShape, free_ports, which, write_slurm_conf, write_slurmdbd_conf

_NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "squeue", "sinfo", "scancel")
_INSTALL = (
    "apt-get install -y --no-install-recommends slurmctld slurmd slurm-client munge slurmdbd mariadb-server"
)


def why_unavailable() -> str:
    """Return a sentence about what is missing on this machine; empty if a cluster can be started."""
    missing = [name for name in _NEEDED if which(name) is None]
    if missing:
        return f"no local SLURM: {', '.join(missing)} not on PATH (Debian, Ubuntu: {_INSTALL})"
    return "" if sys.platform == "linux" else "no local SLURM: needs Linux"


def can_account() -> bool:
    return bool(which("slurmdbd") and which("mariadbd"))


class LocalSlurm:
    def __init__(self, shape: SlurmShape | None = None) -> None:
        self.shape = shape or SlurmShape()
        # Use a short path: slurmstepd binds a unix socket below it, with at most 108 characters.
        self.root = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
        self.conf = self.root / "slurm.conf"
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> "LocalSlurm":
        return self.start()

    def __exit__(self, *error: object) -> None:
        self.stop()

    def start(self) -> "LocalSlurm":
        why = why_unavailable()
        if why:
            raise RuntimeError(why)
        reap_orphans()
        try:
            self.root.chmod(0o755)
            (self.root / "owner").write_text(str(os.getpid()))
            self._start_munge()
            self._base_port = free_ports(self.shape.nodes + 3)
            if self.shape.accounting:
                self._start_accounting()
            write_slurm_conf(
                self.root, self.shape, base_port=self._base_port, munge_socket=self._munge_socket
            )
            os.environ["SLURM_CONF"] = str(self.conf)
            self._spawn("slurmctld", which("slurmctld"), "-D", "-f", str(self.conf))
            for name in self.shape.names:
                self.start_node(name)
            self.wait_for_nodes("idle")
        except BaseException:
            print(self.logs(), file=sys.stderr)
            self.stop()
            raise
        return self

    def _spawn(self, key: str, *command: str | None, env: dict[str, str] | None = None) -> None:
        # In a new session, Ctrl-C in pytest does not reach the daemon before the teardown. pdeathsig ends the
        # daemon also if the tests are killed.
        words = [word for word in command if word is not None]
        setpriv = which("setpriv")
        if setpriv:
            words = [setpriv, "--pdeathsig", "TERM", *words]
        with (self.root / f"{key}.out").open("ab") as log:
            self.daemons[key] = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, **(env or {})},
                cwd=self.root,
            )

    def _start_munge(self) -> None:
        folder = self.root / "munge"
        folder.mkdir(mode=0o755)
        key = folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        self._munge_socket = folder / "munge.sock"
        names = {"socket": self._munge_socket, "key-file": key, "pid-file": folder / "pid"}
        names |= {"log-file": folder / "log", "seed-file": folder / "seed"}
        self._spawn("munged", which("munged"), "-F", "-f", *(f"--{k}={v}" for k, v in names.items()))
        until(self._munge_socket.exists, 15, "munged's socket")

    def _start_accounting(self) -> None:
        port, database_port = self._base_port + self.shape.nodes + 1, self._base_port + self.shape.nodes + 2
        self._start_database(database_port)
        write_slurmdbd_conf(
            self.root, port=port, database_port=database_port, munge_socket=self._munge_socket
        )
        self.conf.touch()
        self._spawn("slurmdbd", which("slurmdbd"), "-D", env={"SLURM_CONF": str(self.conf)})
        until(lambda: _is_listening(port), 30, "slurmdbd's port")

    def _start_database(self, port: int) -> None:
        data, address = self.root / "mysql", self.root / "mysql.sock"
        as_root = ["--user=root"] if getpass.getuser() == "root" else []
        subprocess.run(
            [which("mariadb-install-db") or "mariadb-install-db", "--no-defaults", f"--datadir={data}",
             "--auth-root-authentication-method=normal", "--skip-test-db", *as_root],
            check=True, capture_output=True,
        )  # fmt: skip
        self._spawn(
            "mariadbd", which("mariadbd"), "--no-defaults", f"--datadir={data}", f"--socket={address}",
            f"--port={port}", "--bind-address=127.0.0.1", f"--pid-file={self.root / 'mysql.pid'}",
            "--innodb-buffer-pool-size=64M", "--innodb-log-file-size=16M", "--skip-log-bin",
            "--innodb-flush-log-at-trx-commit=0", "--performance-schema=OFF", *as_root,
        )  # fmt: skip
        hosts = ("127.0.0.1", "localhost")
        sql = "create database if not exists acct;" + "".join(
            f"create user if not exists 'slurm'@'{host}' identified by 'x';"
            f"grant all on acct.* to 'slurm'@'{host}';"
            for host in hosts
        )
        client = [which("mariadb") or "mariadb", "--no-defaults", "-uroot", "-S", str(address), "-e", sql]
        until(lambda: subprocess.run(client, capture_output=True).returncode == 0, 60, "mariadb")

    def start_node(self, name: str) -> None:
        self._spawn(f"slurmd.{name}", which("slurmd"), "-D", "-f", str(self.conf), "-N", name)

    def kill_node(self, name: str) -> None:
        """End a node's slurmd, its step daemons and their tasks, as if the machine were lost."""
        daemon = self.daemons[f"slurmd.{name}"]
        daemon.kill()
        daemon.wait(15)
        for pid in self.step_pids(name):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def is_up(self, name: str) -> bool:
        return self.daemons[f"slurmd.{name}"].poll() is None

    def step_pids(self, name: str = "") -> list[int]:
        """Return the processes of this cluster's jobs, or of one node's jobs: step daemons and tasks."""
        return _step_pids(self.conf, name, spare={daemon.pid for daemon in self.daemons.values()})

    def wait_for_nodes(self, state: str, timeout: float = 90) -> None:
        def ready() -> bool:
            for key in ("slurmctld", "munged"):
                if self.daemons[key].poll() is not None:
                    raise RuntimeError(f"{key} exited with {self.daemons[key].returncode}")
            shown = subprocess.run(["sinfo", "-h", "-N", "-o", "%N %T"], capture_output=True, text=True)
            states = dict(line.split() for line in shown.stdout.splitlines())
            return all(states.get(name) == state for name in self.shape.names)

        until(ready, timeout, f"nodes to be {state}")

    def cancel_everything(self) -> None:
        """End every job, including jobs that ignore SIGTERM."""
        subprocess.run(["scancel", "--full", "--signal=KILL", "--me"], capture_output=True, timeout=30)
        subprocess.run(["scancel", "--me"], capture_output=True, timeout=30)

    def logs(self, num_lines: int = 6) -> str:
        texts = ((log, log.read_text(errors="replace")) for log in sorted(self.root.glob("*.out")))
        return "\n".join(
            f"== {log}\n" + "\n".join(text.splitlines()[-num_lines:]) for log, text in texts if text
        )

    def stop(self) -> list[int]:
        """End all daemons and jobs; return the processes that jobs left behind, which should be none."""
        with contextlib.suppress(Exception):
            if self.daemons["slurmctld"].poll() is None:
                self.cancel_everything()
                until(lambda: not queued(), 15, "jobs to end")
        left = self.step_pids()
        for pid in left:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        nodes = [key for key in self.daemons if key.startswith("slurmd.")]
        for key in [*nodes, "slurmctld", "slurmdbd", "mariadbd", "munged"]:
            daemon = self.daemons.get(key)
            if daemon is None or daemon.poll() is not None:
                continue
            daemon.terminate()
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait(5)
        os.environ.pop("SLURM_CONF", None)
        shutil.rmtree(self.root, ignore_errors=True)
        return left


def until(ready: Callable[[], bool], timeout: float, what: str) -> None:
    """Return once ``ready`` is true."""
    deadline = time.monotonic() + timeout
    while not ready():
        if time.monotonic() > deadline:
            raise RuntimeError(f"timed out after {timeout} s waiting for {what}")
        time.sleep(0.1)


def queued() -> str:
    return subprocess.run(["squeue", "-h"], capture_output=True, text=True, timeout=30).stdout.strip()


def reap_orphans() -> None:
    """Remove the step daemons and folders of killed test processes."""
    for root in Path("/tmp").glob("slurm-*"):
        try:
            owner = int((root / "owner").read_text())
        except (OSError, ValueError):
            continue
        if Path("/proc", str(owner)).exists():
            continue
        for pid in _step_pids(root / "slurm.conf", "", spare=set()):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(root, ignore_errors=True)


def _is_listening(port: int) -> bool:
    with contextlib.closing(socket.socket()) as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def _step_pids(conf: Path, node: str, *, spare: set[int]) -> list[int]:
    """Find processes of jobs by SLURM_CONF in their environment, and their slurmstepd parents."""
    mark, variable = f"SLURM_CONF={conf}".encode(), f"SLURMD_NODENAME={node}".encode()
    spared = spare | {os.getpid()}
    found: set[int] = set()
    parents: dict[int, int] = {}
    for pid in (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()):
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            parents[pid] = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
        in_job = mark in environment and any(entry.startswith(b"SLURM_JOB_ID=") for entry in environment)
        if in_job and pid not in spared and (not node or variable in environment):
            found.add(pid)
    for pid in list(found):
        above = parents.get(pid, 0)
        while above > 1 and above not in spared:
            with contextlib.suppress(OSError):
                if b"slurmstepd" in Path(f"/proc/{above}/cmdline").read_bytes():
                    found.add(above)
            above = parents.get(above, 0)
    return sorted(found)
