"""SlurmShape, write_slurm_conf, ...: configuration files of a private SLURM, with all files in its folder."""

import getpass
import os
import random
import shutil
import socket
import stat
import subprocess
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

_SBIN = "/usr/sbin:/sbin:/usr/local/sbin"
# Character devices that stand for GPUs: SLURM refuses regular files. SLURM binds nothing to these devices.
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty", "ptmx", "console", "fuse", "kmsg")


def which(name: str) -> str | None:
    return shutil.which(name, path=os.environ.get("PATH", "") + ":" + _SBIN)


def free_ports(count: int) -> int:
    """Return the first of ``count`` consecutive TCP ports below the ephemeral range, free when asked."""
    for _ in range(200):
        base = random.Random(os.urandom(8)).randrange(20000, 32000 - count)
        with ExitStack() as stack:
            try:
                for port in range(base, base + count):
                    stack.enter_context(socket.socket()).bind(("0.0.0.0", port))
            except OSError:
                continue
        return base
    raise RuntimeError(f"no {count} consecutive free ports")


@dataclass
class SlurmShape:
    """Shape of a private SLURM.

    Attributes:
        nodes: Number of nodes, called n1, n2, ...
        cpus: Simulated CPUs of each node.
        gpus: Simulated GPUs of each node.
        accounting: Whether slurmdbd and a database run.
        kill_wait: Seconds from SIGTERM to SIGKILL.
        slurmd_timeout: Seconds after which a silent node is down.
        extra: More lines of slurm.conf.
        partitions: Lines of slurm.conf.
    """

    nodes: int = 4
    cpus: int = 2
    gpus: int = 0
    accounting: bool = False
    kill_wait: int = 5
    slurmd_timeout: int = 30
    extra: str = ""
    partitions: list[str] = field(
        default_factory=lambda: ["PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP"]
    )

    @property
    def names(self) -> list[str]:
        return [f"n{number}" for number in range(1, self.nodes + 1)]

    @property
    def node_range(self) -> str:
        return self.names[0] if self.nodes == 1 else f"n[1-{self.nodes}]"


def write_slurm_conf(root: Path, shape: SlurmShape, *, base_port: int, munge_socket: Path) -> Path:
    """Write slurm.conf and its companion files; ports follow ``base_port``, the controller's port."""
    for name in shape.names:
        (root / f"spool.{name}").mkdir(exist_ok=True)
    (root / "state").mkdir(exist_ok=True)
    gres = ""
    if shape.gpus:
        gres = f" Gres=gpu:{shape.gpus}"
        files = ",".join(_character_devices(shape.gpus))
        (root / "gres.conf").write_text(f"NodeName={shape.node_range} Name=gpu File={files}\n")
    if _version() >= (23, 11):
        (root / "cgroup.conf").write_text("CgroupPlugin=disabled\n")
    holds = f"CPUs={shape.cpus} RealMemory=1000{gres}"
    ports = f"[{base_port + 1}-{base_port + shape.nodes}]"
    user, host = getpass.getuser(), socket.gethostname().split(".")[0]
    # cred_expire is the time that a requeued job waits; SLURM 22.05 ignores 1 and then waits 120 s.
    lines = f"""\
ClusterName=t{base_port}
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={base_port}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={munge_socket},cred_expire=5
SlurmUser={user}
SlurmdUser={user}
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd.%n.pid
SlurmdSpoolDir={root}/spool.%n
StateSaveLocation={root}/state
SlurmctldLogFile={root}/slurmctld.log
SlurmdLogFile={root}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=1,batch_sched_delay=0,sched_min_interval=100000
ReturnToService=2
JobRequeue=1
KillWait={shape.kill_wait}
SlurmdTimeout={shape.slurmd_timeout}
MinJobAge=3600
UnkillableStepTimeout=60
MailProg=/bin/true
SlurmdParameters=config_overrides
{"GresTypes=gpu" if shape.gpus else ""}
{_accounting(shape, base_port, munge_socket)}
{shape.extra}
NodeName={shape.node_range} NodeHostname={host} NodeAddr=127.0.0.1 Port={ports} {holds} State=UNKNOWN
"""
    conf = root / "slurm.conf"
    conf.write_text(lines + "\n".join(shape.partitions) + "\n")
    return conf


def write_slurmdbd_conf(root: Path, *, port: int, database_port: int, munge_socket: Path) -> None:
    """Write slurmdbd.conf next to the slurm.conf of ``SLURM_CONF``."""
    conf = root / "slurmdbd.conf"
    conf.write_text(f"""\
AuthType=auth/munge
AuthInfo=socket={munge_socket}
DbdHost={socket.gethostname().split(".")[0]}
DbdAddr=127.0.0.1
DbdPort={port}
SlurmUser={getpass.getuser()}
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={database_port}
StorageUser=slurm
StoragePass=x
StorageLoc=acct
LogFile={root}/slurmdbd.log
PidFile={root}/slurmdbd.pid
""")
    conf.chmod(0o600)


def _accounting(shape: SlurmShape, base_port: int, munge_socket: Path) -> str:
    if not shape.accounting:
        return "AccountingStorageType=accounting_storage/none\nJobAcctGatherType=jobacct_gather/none"
    return (
        f"AccountingStorageType=accounting_storage/slurmdbd\nAccountingStorageHost=127.0.0.1\n"
        f"AccountingStoragePort={base_port + shape.nodes + 1}\nAccountingStoragePass={munge_socket}\n"
        f"JobAcctGatherType=jobacct_gather/none"
    )


def _character_devices(count: int) -> list[str]:
    found = [f"/dev/{name}" for name in _DEVICES if Path(f"/dev/{name}").exists()]
    devices = [path for path in found if stat.S_ISCHR(Path(path).stat().st_mode)][:count]
    if len(devices) < count:
        raise RuntimeError(f"only {len(devices)} character devices here to pretend {count} GPUs with")
    return devices


def _version() -> tuple[int, ...]:
    slurmd = which("slurmd")
    assert slurmd is not None
    said = subprocess.run([slurmd, "-V"], capture_output=True, text=True).stdout
    return tuple(int(number) for number in said.split()[-1].split(".")[:2])
